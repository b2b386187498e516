//! What a generator that is alive takes of the system's memory, each measurement in a process of its own.

use crate::consumers::{current_thread, taken};
use crate::items::root;
use crate::producers;
use crate::row::{Goal, Peer, Row, Unit};
use crate::sources::Numbers;
use std::process::{self, Command};
use std::time::Duration;
use std::{env, fs, future};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

/// The argument that makes this program such a process; after it come what and how many.
pub(crate) const ARGUMENT: &str = "--resident";

/// Enough for the runtime to have polled what was started.
const SETTLING: Duration = Duration::from_millis(200);

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("resident bytes of a generator at rest after an item, of 100,000")
            .unit(Unit::Bytes)
            .batch(100_000)
            .by(Peer::Ctx, |times| in_a_process("ctx", times))
            .by(Peer::ByHand, |times| in_a_process("by-hand", times))
            .by_fresh_go("resident")
            .by(Peer::Bare, |times| in_a_process("task", times))
            .note("an empty task")
            .goal(Goal::AtMost(600.0))
            .goal(Goal::AtMost(512.0)),
        Row::new("resident bytes of a generator never asked, of 100,000")
            .unit(Unit::Bytes)
            .batch(100_000)
            .by(Peer::Ctx, |times| in_a_process("ctx-unasked", times))
            .by(Peer::ByHand, |times| in_a_process("by-hand-unasked", times))
            .by_fresh_go("resident_unasked")
            .by(Peer::Bare, |times| in_a_process("task", times))
            .note("an empty task")
            .goal(Goal::AtMost(600.0))
            .goal(Goal::AtMost(512.0)),
    ]
}

fn in_a_process(what: &str, times: u64) -> f64 {
    let own = env::current_exe().expect("this program is a file");
    let output = Command::new(own).args([ARGUMENT, what, &times.to_string()]).output();
    let output = output.expect("this program runs once more");
    let answer = String::from_utf8_lossy(&output.stdout);
    answer.trim().parse().unwrap_or_else(|_| {
        panic!(
            "the process that holds `{what}` said {answer:?} and {:?}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// In such a process: says what so many take, and ends it.
pub(crate) fn say(mut args: impl Iterator<Item = String>) -> ! {
    let what = args.next().unwrap_or_default();
    let times = args.next().and_then(|times| times.parse().ok()).unwrap_or_default();
    println!("{}", held(&what, times));
    process::exit(0);
}

fn held(what: &str, times: usize) -> f64 {
    let runtime = current_thread();
    match what {
        "ctx" => runtime.block_on(ctx(times, true)),
        "ctx-unasked" => runtime.block_on(ctx(times, false)),
        "by-hand" => runtime.block_on(by_hand(times, true)),
        "by-hand-unasked" => runtime.block_on(by_hand(times, false)),
        "task" => runtime.block_on(growth(times, async || tokio::spawn(future::pending::<()>()))),
        _ => panic!("there is no such thing to hold"),
    }
}

async fn ctx(times: usize, asked: bool) -> f64 {
    let (parent, _keep) = root();
    growth(times, async || {
        let mut numbers = producers::ctx(&parent, 0, Numbers::default());
        if asked {
            taken(&mut numbers).await;
        }
        numbers
    })
    .await
}

async fn by_hand(times: usize, asked: bool) -> f64 {
    let token = CancellationToken::new();
    growth(times, async || {
        let mut numbers = producers::by_hand(&token, 0, Numbers::default());
        if asked {
            taken(&mut numbers).await;
        }
        numbers
    })
    .await
}

/// By how many bytes the process grows with so many of what `make` makes, their handles included. What only the first one
/// needs was there before.
async fn growth<R>(times: usize, make: impl AsyncFn() -> R) -> f64 {
    let _first = make().await;
    tokio::time::sleep(SETTLING).await;
    let before = resident();
    let mut kept = Vec::with_capacity(times);
    for _ in 0..times {
        kept.push(make().await);
        // So that those that have just started do not pile up in the runtime's queue.
        yield_now().await;
    }
    tokio::time::sleep(SETTLING).await;
    resident() - before
}

/// What of this process is in memory, in bytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.expect("Linux says VmRSS in /proc/self/status") * 1024.0
}
