//! G8: consumers on executors that know nothing of tokio, and on threads that have none. What the body uses of its runtime works
//! all the same. And `next_many`, which takes what is ready.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{poll_next, poll_once};
use ctx_runtime::{Context, End, Generator};
use futures_util::{FutureExt, StreamExt};
use patience::{receive, settle, wait_until, within};
use std::any::Any;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use witness::Tally;

const BUFFERS: [usize; 4] = [0, 1, 2, 64];
const ITEMS: u64 = 100;

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What `act` returns on a thread of its own, which must come to its end.
fn on_a_thread<R: Send + 'static>(what: &str, act: impl FnOnce() -> R + Send + 'static) -> R {
    let (send, outcome) = mpsc::channel();
    let thread = thread::spawn(move || send.send(act()).unwrap());
    let outcome = receive(what, &outcome);
    thread.join().unwrap();
    outcome
}

/// Numbers that went through a loopback socket, with a timer now and then.
fn start_echo(runtime: &Runtime, buffer: usize) -> Generator<u64> {
    let _inside = runtime.enter();
    Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(connect, listener.accept());
        let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
        for n in 0..ITEMS {
            if n % 10 == 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            near.write_u64(n).await.unwrap();
            co.yield_(far.read_u64().await.unwrap()).await;
        }
    })
}

/// For each buffer, what `consume` takes on a thread without a runtime is everything, and in order. The body's runtime is a
/// pool in one half of the cases, and a single thread in the other.
fn gets_everything(consume: fn(Generator<u64>) -> Vec<u64>) {
    for buffer in BUFFERS {
        let pool = multi_thread();
        let echo = start_echo(&pool, buffer);
        let items = on_a_thread("all items of a pool", move || consume(echo));
        assert!(items.into_iter().eq(0..ITEMS), "buffer {buffer}");

        let single = current_thread();
        let echo = start_echo(&single, buffer);
        let (done, is_done) = oneshot::channel::<()>();
        let driving = thread::spawn(move || single.block_on(is_done));
        let items = on_a_thread("all items of a single thread", move || consume(echo));
        assert!(items.into_iter().eq(0..ITEMS), "buffer {buffer}");
        done.send(()).unwrap();
        driving.join().unwrap().unwrap();
    }
}

#[test]
fn a_consumer_in_the_block_on_of_futures_gets_every_item() {
    gets_everything(|echo| futures_executor::block_on(echo.collect()));
}

#[test]
fn a_consumer_in_the_block_on_of_smol_gets_every_item() {
    gets_everything(|echo| smol::block_on(echo.collect()));
}

/// On the threads of that executor, and from one task to the next.
#[test]
fn a_consumer_in_a_task_of_smol_gets_every_item() {
    gets_everything(|mut echo| {
        smol::block_on(async {
            let mut items = Vec::new();
            let mut is_over = false;
            while !is_over {
                let task = smol::spawn(async move {
                    let some = echo.by_ref().take(7).collect::<Vec<_>>().await;
                    (echo, some)
                });
                let some;
                (echo, some) = task.await;
                is_over = some.len() < 7;
                items.extend(some);
            }
            items
        })
    });
}

/// Beside timers of the other executor, which take some of the polls for themselves.
#[test]
fn a_consumer_that_selects_on_a_foreign_executor_loses_no_item() {
    gets_everything(|mut echo| {
        smol::block_on(async move {
            let mut items = Vec::new();
            loop {
                let next = echo.next().map(Some);
                let turn = async {
                    smol::future::yield_now().await;
                    None
                };
                match smol::future::or(next, turn).await {
                    Some(Some(item)) => items.push(item),
                    Some(None) => return items,
                    None => smol::future::yield_now().await,
                }
            }
        })
    });
}

#[test]
fn a_thread_that_blocks_gets_every_item() {
    gets_everything(|mut echo| std::iter::from_fn(|| echo.blocking_next()).collect());
}

/// On a thread for blocking, which is inside the runtime and yet no async code.
#[test]
fn a_blocking_task_of_the_bodys_own_runtime_gets_every_item() {
    for buffer in BUFFERS {
        let runtime = multi_thread();
        let mut echo = start_echo(&runtime, buffer);
        let task =
            runtime.spawn_blocking(move || std::iter::from_fn(|| echo.blocking_next()).collect::<Vec<_>>());
        let items = runtime.block_on(within("all items", task)).unwrap();
        assert!(items.into_iter().eq(0..ITEMS), "buffer {buffer}");
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).expect("a message")
}

/// In its own runtime or another one; the handle is as good as before.
#[test]
fn a_thread_that_would_block_async_code_panics_and_loses_no_item() {
    let (home, other) = (multi_thread(), current_thread());
    for buffer in BUFFERS {
        let mut echo = start_echo(&home, buffer);
        let mut expected = 0;
        for runtime in [&home, &other] {
            runtime.block_on(async {
                let panic = catch_unwind(AssertUnwindSafe(|| echo.blocking_next())).expect_err("it panics");
                let message = message(&*panic);
                assert!(message.contains("runtime"), "{message}");
                assert_eq!(within("the item", echo.next()).await, Some(expected));
                expected += 1;
            });
        }
    }
}

#[test]
fn a_thread_that_blocks_gets_the_end_after_the_shutdown() {
    for runtime in [multi_thread(), current_thread()] {
        let dropped = Tally::new();
        let mut silent = {
            let (_inside, guard) = (runtime.enter(), dropped.on_drop());
            Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| async move {
                let _guard = guard;
                pending::<()>().await;
            })
        };
        drop(runtime);
        assert_eq!(dropped.count(), 1);
        let items = on_a_thread("the end", move || [(); 3].map(|()| silent.blocking_next()));
        assert_eq!(items, [None; 3]);
    }
}

#[test]
fn a_thread_that_blocks_while_the_runtime_is_shut_down_gets_the_end() {
    for buffer in BUFFERS {
        let runtime = multi_thread();
        let polled = Tally::new();
        let mut silent = {
            let (_inside, polled) = (runtime.enter(), polled.clone());
            Generator::builder().buffer(buffer).spawn::<u8, _, _>(&Context::background(), |_, _| async move {
                polled.tick();
                pending::<()>().await;
            })
        };
        let (send, end) = mpsc::channel();
        let thread = thread::spawn(move || {
            send.send(silent.blocking_next()).unwrap();
            assert!(matches!(silent.end(), Some(End::Aborted)), "{:?}", silent.end());
        });
        wait_until("the body to be polled", || polled.count() > 0);
        runtime.shutdown_background();
        assert_eq!(receive("the end", &end), None);
        thread.join().unwrap();
    }
}

/// The numbers below `end`, and then the end; with a turn of the scheduler now and then.
fn start_count(buffer: usize, end: u64) -> Generator<u64> {
    Generator::builder().buffer(buffer).spawn(&Context::background(), move |_, co| async move {
        for n in 0..end {
            if n % 5 == 4 {
                tokio::task::yield_now().await;
            }
            co.yield_(n).await;
        }
    })
}

#[tokio::test]
async fn many_items_at_once_come_in_order_and_never_more_than_the_limit() {
    for buffer in BUFFERS {
        for limit in [1, 2, 3, 63, 64, 65, usize::MAX] {
            let mut numbers = start_count(buffer, 200);
            let mut items = vec![1000];
            let mut taken = 0;
            loop {
                let more = within("many items", numbers.next_many(&mut items, limit)).await;
                taken += more;
                assert!(more <= limit.min(buffer.max(1)), "{more} of {limit}, buffer {buffer}");
                assert_eq!(items.len(), 1 + taken, "it says how many it has appended");
                if more == 0 {
                    break;
                }
            }
            assert!(items.iter().copied().eq(std::iter::once(1000).chain(0..200)), "buffer {buffer}");
            for _ in 0..3 {
                assert_eq!(within("the end", numbers.next_many(&mut items, limit)).await, 0);
            }
            assert_eq!(items.len(), 201);
        }
    }
}

#[tokio::test]
async fn many_items_at_once_are_those_that_are_ready() {
    let mut numbers = Generator::builder().buffer(4).spawn(&Context::background(), |_, co| async move {
        for n in 0.. {
            co.yield_(n).await;
        }
    });
    settle().await;
    let mut items = Vec::new();
    assert_eq!(within("what is ready", numbers.next_many(&mut items, 10)).await, 4);
    settle().await;
    assert_eq!(within("three of it", numbers.next_many(&mut items, 3)).await, 3);
    assert_eq!(within("the fourth", numbers.next()).await, Some(7));
    assert!(items.into_iter().eq(0..7));
}

/// With a limit of 0 nothing is asked for, so without a buffer nothing runs (G3).
#[tokio::test]
async fn no_items_at_once_are_there_at_once_and_ask_for_nothing() {
    for buffer in BUFFERS {
        let polled = Tally::new();
        let ran = polled.clone();
        let mut numbers =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                ran.tick();
                co.yield_(0).await;
            });
        let mut items = Vec::new();
        for _ in 0..3 {
            let none = poll_once(pin!(numbers.next_many(&mut items, 0)), Waker::noop());
            assert_eq!(none, Poll::Ready(0));
            settle().await;
        }
        assert!(items.is_empty());
        assert_eq!(polled.count(), usize::from(buffer > 0));
        assert_eq!(within("the item", numbers.next()).await, Some(0));
        assert_eq!(within("the end", numbers.next_many(&mut items, 0)).await, 0);
        assert_eq!(within("the end", numbers.next()).await, None);
    }
}

#[tokio::test]
async fn dropping_a_pending_request_for_many_items_loses_none() {
    for buffer in BUFFERS {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let mut numbers =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                while let Some(n) = receive.recv().await {
                    co.yield_(n).await;
                }
            });
        let mut items = Vec::new();
        for round in 0..20_u64 {
            let begun = poll_once(pin!(numbers.next_many(&mut items, 3)), Waker::noop());
            assert!(begun.is_pending());
            assert_eq!(items.len() as u64, 2 * round, "none was taken");
            send.send(2 * round).unwrap();
            send.send(2 * round + 1).unwrap();
            settle().await;
            while items.len() as u64 != 2 * round + 2 {
                assert!(within("an item", numbers.next_many(&mut items, 1)).await == 1);
            }
        }
        assert!(items.into_iter().eq(0..40), "buffer {buffer}");
        assert!(poll_next(&mut numbers, Waker::noop()).is_pending());
    }
}

/// G2 and G6, of many items at once.
#[tokio::test]
async fn many_items_at_once_come_before_the_end_and_before_a_panic() {
    for is_cancelled in [true, false] {
        let mut numbers =
            Generator::builder().buffer(4).spawn(&Context::background(), move |_, co| async move {
                for n in 0..3 {
                    co.yield_(n).await;
                }
                assert!(is_cancelled, "a body that panics, as the test wants it");
                pending::<()>().await;
            });
        settle().await;
        numbers.cancel();
        let mut items = Vec::new();
        assert_eq!(within("what was accepted", numbers.next_many(&mut items, 10)).await, 3);
        assert_eq!(items, [0, 1, 2]);
        let end = AssertUnwindSafe(numbers.next_many(&mut items, 10)).catch_unwind();
        match within("the end", end).await {
            Ok(more) => assert!(is_cancelled && more == 0),
            Err(panic) => assert!(message(&*panic).contains("as the test wants it") && !is_cancelled),
        }
        assert_eq!(within("the end", numbers.next_many(&mut items, 10)).await, 0);
        assert_eq!(items, [0, 1, 2]);
    }
}
