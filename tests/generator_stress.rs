//! Chance as the opponent: hundreds of thousands of items of thousands of generators, each asked, cancelled and dropped as a
//! seeded sequence has it. What arrives is always a beginning without a gap (G2, G4), and everything is dropped once (G1, G5).

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::poll_next;
use ctx_runtime::{Context, End, Generator, Yielder};
use patience::{wait_until, within};
use std::task::{Poll, Waker};
use std::thread;
use tokio::runtime::Runtime;
use witness::Tally;

const CONSUMERS: u64 = 4;
const ROUNDS: u64 = 500;

/// Xorshift: the same sequence in every run.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn one_in(&mut self, rounds: u64) -> bool {
        self.below(rounds) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// A number that counts its own drop.
struct Item {
    n: u64,
    dropped: Tally,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.dropped.tick();
    }
}

/// What a body waits for between its items.
#[derive(Clone, Copy)]
enum Awaits {
    Nothing,
    Turn,
    Channel,
}

/// What is counted in all.
#[derive(Clone, Default)]
struct Counts {
    bodies: Tally,
    bodies_dropped: Tally,
    items: Tally,
    items_dropped: Tally,
    taken: Tally,
}

impl Counts {
    fn start(&self, ctx: &Context, buffer: usize, awaits: Awaits, end: u64) -> Generator<Item> {
        self.bodies.tick();
        let (counts, guard) = (self.clone(), self.bodies_dropped.on_drop());
        Generator::builder().buffer(buffer).spawn(ctx, move |_, co| async move {
            let _guard = guard;
            counts.body(&co, awaits, end).await;
        })
    }

    async fn body(&self, co: &Yielder<Item>, awaits: Awaits, end: u64) {
        let (send, mut receive) = tokio::sync::mpsc::channel(3);
        if matches!(awaits, Awaits::Channel) {
            tokio::spawn(async move {
                for n in 0..end {
                    if send.send(n).await.is_err() {
                        return;
                    }
                }
            });
        }
        for n in 0..end {
            match awaits {
                Awaits::Nothing => {}
                Awaits::Turn => tokio::task::yield_now().await,
                Awaits::Channel => assert_eq!(receive.recv().await, Some(n)),
            }
            self.items.tick();
            co.yield_(Item { n, dropped: self.items_dropped.clone() }).await;
        }
    }

    /// That these are the next numbers from `expected` on.
    fn check(&self, items: impl IntoIterator<Item = Item>, expected: &mut u64) {
        for item in items {
            assert_eq!(item.n, *expected, "once and in order");
            *expected += 1;
            self.taken.tick();
        }
    }

    /// One generator, from its start to its end.
    async fn round(&self, ctx: &Context, chance: &mut Chance) {
        let buffer = chance.of(&[0, 1, 2, 64]);
        let awaits = chance.of(&[Awaits::Nothing, Awaits::Nothing, Awaits::Turn, Awaits::Channel]);
        let end = chance.below(500);
        let (child, canceller) = ctx.with_cancel();
        let mut canceller = Some(canceller);
        let mut generator = self.start(&child, buffer, awaits, end);
        let way = chance.below(8);
        let stop_at = if way < 2 { u64::MAX } else { chance.below(500) };
        let turns = chance.below(300);
        // From another task, at some time; else at the end of the round, when that has its own end.
        if let Some(canceller) = canceller.take_if(|_| way == 6) {
            drop(tokio::spawn(async move {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                canceller.cancel();
            }));
        }
        let (mut expected, mut many) = (0, Vec::new());
        while expected < stop_at {
            if chance.one_in(8)
                && let Poll::Ready(Some(item)) = poll_next(&mut generator, Waker::noop())
            {
                self.check([item], &mut expected);
            }
            if chance.one_in(50) {
                tokio::task::yield_now().await;
            }
            if chance.one_in(4) {
                let limit = chance.of(&[1, 2, 30]);
                if within("many items", generator.next_many(&mut many, limit)).await == 0 {
                    break;
                }
                self.check(many.drain(..), &mut expected);
            } else {
                let Some(item) = within("an item", generator.next()).await else { break };
                self.check([item], &mut expected);
            }
        }
        assert!(expected <= end);
        match way {
            0 | 1 => {
                assert_eq!(expected, end, "all of them");
                assert!(matches!(generator.end(), Some(End::Finished)), "{:?}", generator.end());
            }
            2 => drop(generator),
            3 => drop(tokio::spawn(async move { drop(generator) })),
            4 => {
                generator.cancel();
                while let Some(item) = within("what is left", generator.next()).await {
                    self.check([item], &mut expected);
                }
                assert!(within("the end", generator.next()).await.is_none());
            }
            5 => drop(within("the end", generator.stop()).await),
            // Woken for what another thread does to it.
            6 => drop(tokio::spawn(async move { while generator.next().await.is_some() {} })),
            _ => drop(thread::spawn(move || drop(generator))),
        }
    }
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Consumers in tasks of the runtime, and one on a thread of its own.
#[test]
fn whatever_chance_does_to_generators_items_have_no_gap_and_all_is_dropped_once() {
    let runtime = multi_thread();
    let counts = Counts::default();
    let (ctx, _keep) = Context::background().with_cancel();
    let consumer = |seed: u64| {
        let (counts, ctx) = (counts.clone(), ctx.clone());
        async move {
            let mut chance = Chance::new(seed);
            for _ in 0..ROUNDS {
                counts.round(&ctx, &mut chance).await;
            }
        }
    };
    let tasks: Vec<_> = (1..CONSUMERS).map(|seed| runtime.spawn(consumer(seed))).collect();
    // Not in a task: its generators are run as a `block_on` has it.
    runtime.block_on(consumer(CONSUMERS));
    for task in tasks {
        runtime.block_on(within("a consumer", task)).unwrap();
    }
    wait_until("every body to be dropped", || counts.bodies_dropped.count() == counts.bodies.count());
    wait_until("every task to be gone", || runtime.metrics().num_alive_tasks() == 0);
    wait_until("every item to be dropped", || counts.items_dropped.count() == counts.items.count());
    wait_until("the report to be empty", || ctx.live().is_empty());
    assert_eq!(counts.bodies.count() as u64, CONSUMERS * ROUNDS);
    assert!(counts.taken.count() >= 200_000, "{} items", counts.taken.count());
}

/// The same from threads that block, outside any runtime, while other threads cancel what they wait for.
#[test]
fn threads_that_block_get_items_without_a_gap_though_others_cancel() {
    let runtime = multi_thread();
    let counts = Counts::default();
    let (ctx, _keep) = Context::background().with_cancel();
    thread::scope(|scope| {
        for seed in 1..=2 {
            let (runtime, counts, ctx) = (&runtime, &counts, &ctx);
            scope.spawn(move || {
                let mut chance = Chance::new(seed);
                for _ in 0..150 {
                    let (child, canceller) = ctx.with_cancel();
                    let awaits = chance.of(&[Awaits::Nothing, Awaits::Turn, Awaits::Channel]);
                    let (buffer, turns) = (chance.of(&[0, 1, 2, 64]), chance.below(200));
                    let mut generator = {
                        let _inside = runtime.enter();
                        counts.start(&child, buffer, awaits, 200)
                    };
                    drop(runtime.spawn(async move {
                        for _ in 0..turns {
                            tokio::task::yield_now().await;
                        }
                        canceller.cancel();
                    }));
                    let mut expected = 0;
                    while let Some(item) = generator.blocking_next() {
                        counts.check([item], &mut expected);
                    }
                    assert!(generator.blocking_next().is_none());
                    assert!(generator.end().is_some());
                }
            });
        }
    });
    wait_until("every body to be dropped", || counts.bodies_dropped.count() == counts.bodies.count());
    wait_until("every task to be gone", || runtime.metrics().num_alive_tasks() == 0);
    wait_until("every item to be dropped", || counts.items_dropped.count() == counts.items.count());
    wait_until("the report to be empty", || ctx.live().is_empty());
}
