//! Runs the rows: the peers in turn within each repetition, so that what disturbs the machine disturbs them alike.

use crate::go::Go;
use crate::pin;
use crate::row::{Batch, Entry, Goal, Peer, Row, Source, Table, Unit};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// What one measurement of a calibrated piece of work takes at least, in nanoseconds.
const TARGET: f64 = 4e6;

/// What a count of allocations is repeated: it does not vary.
const COUNTS: usize = 3;

/// How long `once` takes, `times` times, in nanoseconds.
pub(crate) fn time<R>(times: u64, mut once: impl FnMut() -> R) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        black_box(once());
    }
    since(start)
}

/// The nanoseconds since `start`.
pub(crate) fn since(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64
}

/// How long `once` takes, `times` times on each of two threads that do it at once; the mean of the two.
pub(crate) fn time_two_threads<R>(times: u64, once: impl Fn() -> R + Sync) -> f64 {
    let start = Barrier::new(2);
    let busy = AtomicUsize::new(2);
    let each = &|place| {
        pin::to_core(place);
        start.wait();
        let elapsed = time(times, &once);
        busy.fetch_sub(1, Ordering::Relaxed);
        // The other one is not to have it easier towards its end.
        while busy.load(Ordering::Relaxed) > 0 {
            black_box(once());
        }
        elapsed
    };
    thread::scope(|scope| {
        let threads = [0, 1].map(|place| scope.spawn(move || each(place)));
        let [first, second] = threads.map(|thread| thread.join().expect("the work does not panic"));
        f64::midpoint(first, second)
    })
}

pub(crate) struct Measured {
    pub(crate) title: &'static str,
    pub(crate) peers: Vec<Peer>,
    pub(crate) ratios: Vec<Peer>,
    pub(crate) rows: Vec<Line>,
}

/// A row and what was found.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) in_chart: Option<&'static str>,
    pub(crate) goals: Vec<Vec<Goal>>,
    pub(crate) series: Vec<Series>,
}

/// The figures of one peer, one a repetition.
pub(crate) struct Series {
    pub(crate) peer: Peer,
    pub(crate) note: Option<&'static str>,
    figures: Vec<f64>,
}

impl Line {
    pub(crate) fn of(&self, peer: Peer) -> Option<&Series> {
        self.series.iter().find(|series| series.peer == peer)
    }

    /// What ctx took, divided by what `peer` took in the same repetition.
    pub(crate) fn ratio(&self, peer: Peer) -> Option<Spread> {
        let (ours, theirs) = (self.of(Peer::Ctx)?, self.of(peer)?);
        let ratios = ours.figures.iter().zip(&theirs.figures).map(|(ours, theirs)| ours / theirs);
        Some(Spread::of(ratios.collect()))
    }

    /// Who of the others is the fastest.
    pub(crate) fn fastest(&self) -> Option<Peer> {
        let others = self.series.iter().filter(|series| series.peer != Peer::Ctx);
        let medians = others.map(|series| (series.spread().median, series.peer));
        medians.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, peer)| peer)
    }
}

impl Series {
    pub(crate) fn spread(&self) -> Spread {
        Spread::of(self.figures.clone())
    }
}

/// The middle half of some figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) lower_quartile: f64,
    pub(crate) median: f64,
    pub(crate) upper_quartile: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |quarter: usize| figures[(figures.len() - 1) * quarter / 4];
        Self { lower_quartile: at(1), median: at(2), upper_quartile: at(3) }
    }
}

/// Measures every row so many times. Without Go, its peers are left out.
pub(crate) fn table(table: Table, mut go: Option<&mut Go>, repetitions: usize) -> Measured {
    let Table { title, peers, ratios, rows } = table;
    eprintln!("# {title}");
    let rows = rows.into_iter().map(|row| {
        eprintln!("{}", row.what);
        line(row, go.as_deref_mut(), repetitions)
    });
    Measured { title, rows: rows.collect(), peers, ratios }
}

fn line(row: Row, mut go: Option<&mut Go>, repetitions: usize) -> Line {
    let Row { what, unit, batch, most_repetitions, in_chart, mut entries, goals } = row;
    entries.retain(|entry| go.is_some() || matches!(entry.source, Source::Here(_)));
    let mut run = |entry: &mut Entry, times| match &mut entry.source {
        Source::Here(work) => work(times),
        Source::Go(name) => go.as_mut().expect("left out above").run(name, times),
        Source::FreshGo(name) => go.as_ref().expect("left out above").run_afresh(name, times),
    };
    let batches: Vec<u64> = entries.iter_mut().map(|entry| calibrate(batch, |n| run(entry, n))).collect();
    let repetitions = if unit == Unit::Nanoseconds { repetitions.min(most_repetitions) } else { COUNTS };
    let mut figures = vec![Vec::with_capacity(repetitions); entries.len()];
    for _ in 0..repetitions {
        for ((entry, &times), figures) in entries.iter_mut().zip(&batches).zip(&mut figures) {
            figures.push(run(entry, times) / times as f64);
        }
    }
    let series = entries.into_iter().zip(figures);
    let series = series.map(|(Entry { peer, note, .. }, figures)| Series { peer, note, figures });
    Line { what, unit, in_chart, goals, series: series.collect() }
}

/// How many times are to be measured at once. Runs the work, so that it is warm.
fn calibrate(batch: Batch, mut run: impl FnMut(u64) -> f64) -> u64 {
    let mut times = match batch {
        Batch::Fixed(times) => {
            run(times);
            return times;
        }
        Batch::Calibrated => 1,
    };
    loop {
        let took = run(times);
        if took >= TARGET {
            return times;
        }
        times *= 2;
    }
}
