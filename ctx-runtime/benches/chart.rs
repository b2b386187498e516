//! The chart of the main figures: a group of bars a row, a bar a peer, on a logarithmic scale.

use crate::measure::{Line, Measured};
use crate::report::digits;
use crate::row::Peer;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

const WIDTH: u32 = 900;
/// Of a bar with the space to the next one.
const STEP: i32 = 22;
const BAR: i32 = 16;
/// Of a group's heading with the space above.
const HEADING: i32 = 44;
const TOP: i32 = 64;
const BOTTOM: i32 = 44;
/// Where the bars begin and where the scale ends.
const LEFT: i32 = 150;
const RIGHT: i32 = 800;

const INK: RGBColor = RGBColor(32, 36, 44);
const FAINT: RGBColor = RGBColor(90, 98, 112);
const GRID: RGBColor = RGBColor(222, 226, 232);
const OURS: RGBColor = RGBColor(201, 81, 12);
const THEIRS: RGBColor = RGBColor(122, 144, 176);

/// Draws the rows that are marked for it.
pub(crate) fn draw(tables: &[Measured], path: &str) -> Result<(), Box<dyn Error>> {
    let lines: Vec<&Line> =
        tables.iter().flat_map(|table| &table.rows).filter(|line| line.in_chart).collect();
    let bars: Vec<Vec<(Peer, f64)>> = lines.iter().map(|line| medians(line)).collect();
    let count = bars.iter().map(Vec::len).sum::<usize>();
    let height = TOP + BOTTOM + HEADING * i32::try_from(bars.len())? + STEP * i32::try_from(count)?;
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;

    let text = |size: i32, colour: &RGBColor| ("sans-serif", size).into_font().color(colour);
    let at = |horizontal, vertical| Pos::new(horizontal, vertical);
    area.draw_text("What a generator costs", &text(20, &INK).pos(at(HPos::Left, VPos::Top)), (16, 16))?;
    let scale = Scale::over(bars.iter().flatten().map(|&(_, figure)| figure));
    area.draw_text(
        "nanoseconds, on a logarithmic scale: less is better",
        &text(13, &FAINT).pos(at(HPos::Left, VPos::Top)),
        (16, 42),
    )?;
    for power in scale.first..=scale.last {
        let x = scale.place(10_f64.powi(power));
        area.draw(&PathElement::new([(x, TOP + 8), (x, height - BOTTOM + 8)], GRID))?;
        let label = text(12, &FAINT).pos(at(HPos::Center, VPos::Top));
        area.draw_text(&unit(10_f64.powi(power)), &label, (x, height - BOTTOM + 14))?;
    }

    let mut y = TOP;
    for (line, bars) in lines.iter().zip(&bars) {
        y += HEADING;
        let heading = text(14, &INK).pos(at(HPos::Left, VPos::Bottom));
        area.draw_text(&line.what.replace('`', ""), &heading, (16, y - 8))?;
        for &(peer, figure) in bars {
            let (colour, ink) = if peer == Peer::Ctx { (OURS, INK) } else { (THEIRS, FAINT) };
            let (end, middle) = (scale.place(figure), y + BAR / 2);
            let name = text(13, &ink).pos(at(HPos::Right, VPos::Center));
            area.draw_text(&peer.name().replace('`', ""), &name, (LEFT - 8, middle))?;
            area.draw(&Rectangle::new([(LEFT, y), (end, y + BAR)], colour.filled()))?;
            let value = text(13, &ink).pos(at(HPos::Left, VPos::Center));
            area.draw_text(&unit(figure), &value, (end + 6, middle))?;
            y += STEP;
        }
    }
    area.present()?;
    Ok(())
}

/// Ours first, then the fastest.
fn medians(line: &Line) -> Vec<(Peer, f64)> {
    let series = line.series.iter().filter(|series| series.peer != Peer::Bare);
    let mut bars: Vec<_> = series.map(|series| (series.peer, series.spread().median)).collect();
    bars.sort_by(|(one, ones), (other, others)| {
        (*one != Peer::Ctx).cmp(&(*other != Peer::Ctx)).then(ones.total_cmp(others))
    });
    bars
}

fn unit(figure: f64) -> String {
    if figure < 1e3 { format!("{} ns", digits(figure)) } else { format!("{} µs", digits(figure / 1e3)) }
}

/// From one power of ten to another.
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    /// That all of these are on.
    fn over(figures: impl Iterator<Item = f64>) -> Self {
        let (mut first, mut last) = (0, 1);
        for power in figures.map(f64::log10) {
            first = first.min(whole(power.floor()));
            last = last.max(whole(power.ceil()));
        }
        Self { first, last }
    }

    fn place(&self, figure: f64) -> i32 {
        let part = (figure.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        LEFT + whole((part * f64::from(RIGHT - LEFT)).round())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a pixel or a power of ten")]
fn whole(figure: f64) -> i32 {
    figure as i32
}
