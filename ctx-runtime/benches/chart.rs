//! The chart of the main figures: a group of bars a row, a bar a peer, on a logarithmic scale.

use crate::measure::{Line, Measured};
use crate::row::Peer;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

const WIDTH: u32 = 900;
/// Of a bar with the space to the next one.
const STEP: i32 = 22;
const BAR: i32 = 16;
/// Of a group's heading with the space above.
const HEADING: i32 = 46;
const TOP: i32 = 60;
/// Of the scale's figures.
const BOTTOM: i32 = 36;
/// Where the bars begin and where the scale ends.
const LEFT: i32 = 150;
const RIGHT: i32 = 810;

const EXPLAINED: &str =
    "Time on a logarithmic scale: less is better. Pale: without a task of its own, or not cancellable.";

const INK: RGBColor = RGBColor(32, 36, 44);
const FAINT: RGBColor = RGBColor(90, 98, 112);
const GRID: RGBColor = RGBColor(226, 230, 236);
const OURS: RGBColor = RGBColor(201, 81, 12);
const THEIRS: RGBColor = RGBColor(112, 134, 168);
/// Of those who do less: no task of its own, or no end but the consumer's.
const LESSER: RGBColor = RGBColor(200, 209, 222);

/// Draws the rows that have a heading for it.
pub(crate) fn draw(tables: &[Measured], path: &str) -> Result<(), Box<dyn Error>> {
    let lines = tables.iter().flat_map(|table| &table.rows);
    let groups: Vec<_> = lines.filter_map(|line| Some((line.in_chart?, bars(line)))).collect();
    let figures = || groups.iter().flat_map(|(_, bars)| bars).map(|&(_, figure)| figure);
    let steps = STEP * i32::try_from(figures().count())? + HEADING * i32::try_from(groups.len())?;
    let bottom = TOP + steps + 8;
    let size = (WIDTH, u32::try_from(bottom + BOTTOM)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;

    let write =
        |text: &str, size: i32, ink: RGBColor, horizontal: HPos, vertical: VPos, place: (i32, i32)| {
            let style = ("sans-serif", size).into_font().color(&ink).pos(Pos::new(horizontal, vertical));
            area.draw_text(text, &style, place)
        };
    write("What a generator costs", 22, INK, HPos::Left, VPos::Top, (16, 16))?;
    write(EXPLAINED, 14, FAINT, HPos::Left, VPos::Top, (16, 44))?;
    let scale = Scale::over(figures());
    for power in scale.first..=scale.last {
        let x = scale.place(10_f64.powi(power));
        area.draw(&PathElement::new([(x, TOP + HEADING - 4), (x, bottom)], GRID))?;
        write(&with_unit(10_f64.powi(power)), 13, FAINT, HPos::Center, VPos::Top, (x, bottom + 6))?;
    }
    let mut y = TOP;
    for (heading, bars) in &groups {
        // The lines of the scale are not to strike it through.
        area.draw(&Rectangle::new([(LEFT - 1, y + 10), (RIGHT + 1, y + HEADING - 4)], WHITE.filled()))?;
        y += HEADING;
        write(heading, 16, INK, HPos::Left, VPos::Bottom, (16, y - 8))?;
        for &(peer, figure) in bars {
            let (fill, ink) = match peer {
                Peer::Ctx => (OURS, INK),
                Peer::KanalAlone | Peer::AsyncStream | Peer::AsynkStrim | Peer::Unfold => (LESSER, FAINT),
                _ => (THEIRS, FAINT),
            };
            let (end, middle) = (scale.place(figure), y + BAR / 2);
            write(&peer.name().replace('`', ""), 14, ink, HPos::Right, VPos::Center, (LEFT - 8, middle))?;
            area.draw(&Rectangle::new([(LEFT, y), (end, y + BAR)], fill.filled()))?;
            area.draw(&Rectangle::new([(end + 1, y), (end + 64, y + BAR)], WHITE.filled()))?;
            write(&with_unit(figure), 14, ink, HPos::Left, VPos::Center, (end + 6, middle))?;
            y += STEP;
        }
    }
    area.present()?;
    Ok(())
}

/// The medians, the fastest first.
fn bars(line: &Line) -> Vec<(Peer, f64)> {
    let series = line.series.iter().filter(|series| series.peer != Peer::Bare);
    let mut bars: Vec<_> = series.map(|series| (series.peer, series.spread().median)).collect();
    bars.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    bars
}

fn with_unit(figure: f64) -> String {
    let (figure, unit) = if figure < 1e3 { (figure, "ns") } else { (figure / 1e3, "µs") };
    let decimals = if figure.fract() == 0.0 || figure >= 100.0 {
        0
    } else if figure < 10.0 {
        2
    } else {
        1
    };
    format!("{figure:.decimals$} {unit}")
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
