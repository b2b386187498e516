//! The table: what was measured, as Markdown.

use crate::measure::{Line, Measured, Series, Spread};
use crate::row::{Goal, MANY, Peer, Unit};
use std::fmt::Write;

const BEGIN: &str = "<!-- table: begin, written by `cargo run --release` -->";
const END: &str = "<!-- table: end -->";

/// All the tables, and what they were made with and on.
pub(crate) fn markdown(tables: &[Measured], machine: &str, repetitions: usize) -> String {
    let mut text = String::new();
    for measured in tables {
        let _ = write!(text, "### {}\n\n{}\n", measured.title, table(measured));
    }
    let _ = write!(
        text,
        "Made by `cargo run --release` in this directory, with {repetitions} repetitions (the rows with a hundred \
         thousand of something at most {MANY}): the median, and in brackets the quartiles; a ratio is taken within \
         each repetition, then its median.\n\n{machine}\n"
    );
    text
}

fn table(measured: &Measured) -> String {
    let mut text = String::new();
    let mut heads = vec!["what".to_owned()];
    heads.extend(measured.peers.iter().map(|peer| peer.name().to_owned()));
    heads.extend(measured.ratios.iter().map(|peer| format!("ctx ÷ {}", peer.name())));
    heads.push("goal".to_owned());
    let rule = vec!["---".to_owned(); heads.len()];
    push(&mut text, &heads);
    push(&mut text, &rule);
    for line in &measured.rows {
        let mut cells = vec![line.what.to_owned()];
        cells.extend(
            measured.peers.iter().map(|&peer| line.of(peer).map_or("–".into(), |it| figure(it, line.unit))),
        );
        let ratio = |spread: Spread| with_quartiles(spread, digits);
        let is_time = line.unit == Unit::Nanoseconds;
        cells.extend(
            measured
                .ratios
                .iter()
                .map(|&peer| line.ratio(peer).filter(|_| is_time).map_or("–".into(), ratio)),
        );
        let group = |goals: &Vec<Goal>| goals.iter().map(|&of| goal(line, of)).collect::<Vec<_>>().join(", ");
        let goals: Vec<_> = line.goals.iter().map(group).collect();
        cells.push(goals.join("; then "));
        push(&mut text, &cells);
    }
    text
}

fn push(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn figure(series: &Series, unit: Unit) -> String {
    let spread = series.spread();
    let figure = match unit {
        Unit::Nanoseconds => {
            let (scale, name) = unit_of_time(spread.median);
            let scaled = |figure| digits(figure / scale);
            format!(
                "{} {name} ({}–{})",
                scaled(spread.median),
                scaled(spread.lower_quartile),
                scaled(spread.upper_quartile)
            )
        }
        // Of a hundred thousand, what the tables of a parent have grown by is left in the decimals.
        Unit::Allocations => digits(round(spread.median)),
        Unit::Bytes => format!("{:.0}", spread.median),
    };
    match series.note {
        Some(note) => format!("{figure}: {note}"),
        None => figure,
    }
}

/// The unit to show a time in: how many nanoseconds it has, and its name.
fn unit_of_time(nanoseconds: f64) -> (f64, &'static str) {
    match nanoseconds {
        few if few < 1e3 => (1.0, "ns"),
        few if few < 1e6 => (1e3, "µs"),
        few if few < 1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    }
}

fn with_quartiles(spread: Spread, show: impl Fn(f64) -> String) -> String {
    format!("{} ({}–{})", show(spread.median), show(spread.lower_quartile), show(spread.upper_quartile))
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Two decimals below ten, one below a hundred, none above.
fn digits(figure: f64) -> String {
    match figure {
        0.0 => "0".to_owned(),
        figure if figure.fract() == 0.0 && figure < 10.0 => format!("{figure}"),
        figure if figure < 10.0 => format!("{figure:.2}"),
        figure if figure < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// The goal, and whether the median reaches it.
fn goal(line: &Line, goal: Goal) -> String {
    let ratio = |peer| line.ratio(peer).map(|ratio| ratio.median);
    let (text, reached) = match goal {
        Goal::AtMost(most) => {
            let text = match line.unit {
                Unit::Nanoseconds => {
                    let (scale, name) = unit_of_time(most);
                    format!("≤ {} {name}", most / scale)
                }
                Unit::Allocations | Unit::Bytes => format!("≤ {most}"),
            };
            let found = line.of(Peer::Ctx).map(|series| series.spread().median);
            (text, found.map(|found| round(found) <= most))
        }
        Goal::AtMostTimes(most, peer) => {
            (format!("≤ {most} × {}", peer.name()), ratio(peer).map(|found| round(found) <= most))
        }
        Goal::TimesFaster(times, peer) => (
            format!("{times} × as fast as {}", peer.name()),
            ratio(peer).map(|found| round(1.0 / found) >= times),
        ),
        Goal::AtMostTimesFastest(most) => {
            let fastest = line.fastest();
            let name = fastest.map_or(String::new(), |peer| format!(" ({})", peer.name()));
            (
                format!("≤ {most} × the fastest{name}"),
                fastest.and_then(ratio).map(|found| round(found) <= most),
            )
        }
    };
    let verdict = match reached {
        Some(true) => "reached",
        Some(false) => "**missed**",
        None => "not measured",
    };
    format!("{text}: {verdict}")
}

/// The document with what stands between the markers replaced.
pub(crate) fn replace(document: &str, text: &str) -> Result<String, String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or(format!("README.md has lost its markers, `{BEGIN}` and `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}
