//! The bridges: the signals that ask a process to shut down, and tokio-util's `CancellationToken` in both directions.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod held;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn};
use ctx_runtime::{Canceller, Context, ContextError, Generator};
use held::gives_back;
use patience::{settle, within};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::advance;
use tokio_util::sync::CancellationToken;
use witness::Tally;

const MS: Duration = Duration::from_millis(1);

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

// From a token to a context.

#[test]
fn a_cancelled_token_ends_the_context_before_its_cancel_returns() {
    let token = CancellationToken::new();
    let ctx = Context::background().with_value(7_u8).with_cancellation_token(&token);
    let line = line!() - 1;
    let (child, _keep) = ctx.with_cancel();
    let (heard, waker) = Wakes::new();
    let called = Tally::new();
    let ticks = called.clone();
    let mut wait = pin!(child.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    drop(ctx.after_func(move || ticks.tick()));
    assert!(!ctx.is_done());

    token.cancel();

    assert!(ctx.is_done() && child.is_done());
    assert_eq!((heard.count(), called.count()), (1, 1));
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    let cause = ctx.cause().unwrap();
    assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), line));
    assert_eq!(ctx.value(), Some(&7_u8));
}

#[test]
fn a_context_of_a_token_that_is_cancelled_is_born_done() {
    let token = CancellationToken::new();
    token.cancel();
    assert!(Context::background().with_cancellation_token(&token).is_done());
    assert!(Context::background().with_cancellation_token(&token.child_token()).is_done());
}

/// C3, and the first wins.
#[test]
fn a_context_of_a_token_is_a_child_like_another() {
    let (parent, stop) = root();
    let token = CancellationToken::new();
    let ctx = parent.with_cancellation_token(&token);
    stop.cancel_with("the parent");
    assert!(ctx.cause().unwrap().to_string().ends_with(": the parent"));
    assert!(!token.is_cancelled(), "it does not reach back");
    token.cancel();
    assert!(ctx.cause().unwrap().to_string().ends_with(": the parent"));

    let (parent, _keep) = root();
    let token = CancellationToken::new();
    let ctx = parent.with_cancellation_token(&token);
    token.cancel();
    assert!(ctx.is_done() && !parent.is_done());
    let under_a_done_one = ctx.with_cancellation_token(&CancellationToken::new());
    assert!(under_a_done_one.is_done());
}

/// C2: the deadline came first.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_cancelled_after_the_deadline_finds_it_exceeded() {
    let token = CancellationToken::new();
    let ctx = Context::background().with_timeout(10 * MS).with_cancellation_token(&token);
    advance(10 * MS).await;
    token.cancel();
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
}

#[tokio::test]
async fn neither_bridge_costs_a_task() {
    let before = alive_tasks();
    let token = CancellationToken::new();
    let (parent, _keep) = root();
    let contexts: Vec<_> = (0..100).map(|_| parent.with_cancellation_token(&token)).collect();
    let tokens: Vec<_> = contexts.iter().map(Context::cancellation_token).collect();
    settle().await;
    assert_eq!(alive_tasks(), before);
    token.cancel();
    assert!(contexts.iter().all(Context::is_done) && tokens.iter().all(CancellationToken::is_cancelled));
    settle().await;
    assert_eq!(alive_tasks(), before);
}

#[tokio::test]
async fn a_generator_under_a_context_of_a_token_ends_with_the_token() {
    let token = CancellationToken::new();
    let ctx = Context::background().with_cancellation_token(&token);
    let mut silent = Generator::builder().buffer(1).spawn::<u8, _, _>(&ctx, |_, _| pending());
    settle().await;
    token.child_token().cancel();
    assert_eq!(ctx.live().len(), 1, "a child of the token is none of ours");
    token.cancel();
    assert_eq!(within("the end", silent.next()).await, None);
}

/// C5: the last context of a token may go in the callback that the token's cancel runs.
#[test]
fn what_a_token_wakes_may_drop_the_context_and_use_the_token() {
    let token = CancellationToken::new();
    let held = Arc::new(Mutex::new(Some(Context::background().with_cancellation_token(&token))));
    let called = Tally::new();
    let (takes, ticks, cancelled) = (Arc::clone(&held), called.clone(), token.clone());
    let callback = held.lock().unwrap().as_ref().unwrap().after_func(move || {
        drop(takes.lock().unwrap().take());
        cancelled.cancel();
        assert!(cancelled.is_cancelled());
        assert!(Context::background().with_cancellation_token(&cancelled).is_done());
        ticks.tick();
    });
    drop(callback);
    token.cancel();
    assert_eq!(called.count(), 1);
}

/// C8.
#[test]
fn what_a_context_of_a_token_holds_is_released_with_its_last_handle() {
    let (token, (parent, _keep)) = (CancellationToken::new(), root());
    gives_back(20_000, || {
        let ctx = parent.with_cancellation_token(&token);
        let (child, canceller) = ctx.with_cancel();
        assert!(!child.is_done());
        canceller.cancel();
    });
    assert!(!token.is_cancelled());
}

#[test]
fn a_token_that_is_cancelled_from_several_threads_while_contexts_are_made_ends_them_all() {
    for _ in 0..100 {
        let token = CancellationToken::new();
        let contexts = std::thread::scope(|scope| {
            let maker = scope.spawn(|| {
                let mut contexts = Vec::new();
                while !token.is_cancelled() {
                    contexts.push(Context::background().with_cancellation_token(&token));
                }
                contexts.push(Context::background().with_cancellation_token(&token));
                contexts
            });
            std::thread::yield_now();
            token.cancel();
            maker.join().unwrap()
        });
        patience::wait_until("the last of them", || contexts.iter().all(Context::is_done));
    }
}

// From a context to a token.

#[test]
fn a_token_is_cancelled_before_the_cancel_of_its_context_returns() {
    let (ctx, canceller) = root();
    let (child, _keep) = ctx.with_cancel();
    let tokens = [ctx.cancellation_token(), child.with_value(1_u8).cancellation_token()];
    let below = tokens[1].child_token();
    assert!(tokens.iter().all(|token| !token.is_cancelled()));
    canceller.cancel();
    assert!(tokens.iter().all(CancellationToken::is_cancelled) && below.is_cancelled());
    assert!(child.cancellation_token().is_cancelled(), "of a done context, at once");
}

#[test]
fn a_token_does_not_reach_back() {
    let (ctx, canceller) = root();
    let token = ctx.cancellation_token();
    token.cancel();
    assert!(token.is_cancelled() && !ctx.is_done() && !ctx.cancellation_token().is_cancelled());
    canceller.cancel();
    assert!(!Context::background().cancellation_token().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_cancelled_by_the_deadline_of_its_context() {
    let ctx = Context::background().with_timeout(10 * MS);
    let token = ctx.cancellation_token();
    drop(ctx);
    let begun = tokio::time::Instant::now();
    within("the token", token.cancelled()).await;
    assert!(begun.elapsed() >= 10 * MS && begun.elapsed() <= 11 * MS);
}

/// Round trip, and round again.
#[test]
fn a_cancel_goes_through_a_row_of_bridges() {
    let (first, canceller) = root();
    let mut row = vec![first];
    for n in 0..20 {
        row.push(Context::background().with_cancellation_token(&row[n].cancellation_token()));
    }
    assert!(!row[20].is_done());
    canceller.cancel();
    assert!(row.iter().all(Context::is_done));
}

/// A ring of the two is no cycle that would hang, and ends as one.
#[test]
fn a_context_and_a_token_that_follow_each_other_end_together() {
    for from_the_token in [false, true] {
        let (parent, canceller) = root();
        let token = CancellationToken::new();
        let ctx = parent.with_cancellation_token(&token);
        let back = token.clone();
        drop(ctx.after_func(move || back.cancel()));
        if from_the_token {
            token.cancel();
        } else {
            canceller.cancel();
        }
        assert!(ctx.is_done() && token.is_cancelled());
    }
}

// Signals. They are the whole process's, so each of these tests is one of its own.

#[cfg(unix)]
mod signals {
    use super::{MS, alive_tasks, root};
    use crate::patience::{PATIENCE, settle};
    use ctx_runtime::{Context, ContextError};
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, ExitStatus, Stdio, id};
    use std::sync::mpsc;
    use std::thread;
    use tokio::time::timeout;

    const CHILD: &str = "CTX_TESTS_SIGNALS_CHILD";

    /// What the child process does: says when it listens, waits, and says what it has seen.
    #[test]
    fn child() {
        let Ok(runtime) = std::env::var(CHILD) else { return };
        let mut builder = match runtime.as_str() {
            "current_thread" => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            let before = alive_tasks();
            let (parent, _keep) = root();
            let ctx = parent.with_shutdown_signal();
            let line = line!() - 1;
            let second = Context::background().with_value("values stay").with_shutdown_signal();
            let (below, _keep_below) = ctx.with_timeout(PATIENCE).with_cancel();
            assert_eq!(alive_tasks(), before, "it costs no task");
            assert!(!ctx.is_done() && !second.is_done());
            let waiter = tokio::spawn(below.done());
            settle().await;
            println!("listening as {}", id());

            timeout(PATIENCE, ctx.done()).await.expect("a signal");
            timeout(PATIENCE, waiter).await.expect("the waiter below").unwrap();
            timeout(PATIENCE, second.done()).await.expect("the second context");
            assert_eq!((below.err(), parent.err()), (Some(ContextError::Cancelled), None));
            assert_eq!(second.value(), Some(&"values stay"));
            let cause = ctx.cause().unwrap();
            assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), line));
            assert!(cause.to_string().starts_with("context cancelled at "));
            // A context that is made after the signal waits for the next one.
            let third = Context::background().with_shutdown_signal();
            settle().await;
            assert!(!third.is_done());
            println!("cause: {cause}");
        });
    }

    /// The output and the exit of a child that is sent `signal` when it listens.
    fn child_that_is_sent(signal: &str, runtime: &str) -> (String, ExitStatus) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signals::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, runtime)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (send, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut output = String::new();
            while lines.read_line(&mut output).unwrap_or(0) > 0 {
                if output.lines().last().is_some_and(|line| line.contains("listening as ")) {
                    let _ = send.send(());
                }
            }
            output
        });
        let mut errors = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        if receiver.recv_timeout(PATIENCE).is_ok() {
            let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
            assert!(kill.success(), "`kill` is there and may signal");
        } else {
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        (reader.join().unwrap() + &errors.join().unwrap(), status)
    }

    #[test]
    fn sigterm_and_sigint_end_the_context_and_the_cause_says_which_it_was() {
        for (signal, runtime) in
            [("TERM", "current_thread"), ("INT", "multi_thread"), ("TERM", "multi_thread")]
        {
            let (output, status) = child_that_is_sent(signal, runtime);
            assert!(output.contains(&format!(": received SIG{signal}")), "{runtime}: {output}");
            assert!(status.success(), "the signal does not end the process: {status}: {output}");
        }
    }

    /// C3, without any signal: a child like another, and one that is done for another reason stays so.
    #[tokio::test(start_paused = true)]
    async fn a_context_that_waits_for_a_signal_is_a_child_like_another() {
        let (parent, stop) = root();
        let ctx = parent.with_timeout(10 * MS).with_shutdown_signal();
        assert!(!ctx.is_done());
        assert!(ctx.deadline().is_some());
        stop.cancel_with("the parent");
        assert!(ctx.cause().unwrap().to_string().ends_with(": the parent"));
        assert!(parent.with_shutdown_signal().is_done());
    }

    #[test]
    fn outside_a_runtime_it_panics() {
        let panic = super::catch_unwind(|| drop(Context::background().with_shutdown_signal())).unwrap_err();
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap();
        assert!(message.contains("runtime") || message.contains("reactor"), "{message}");
    }
}

/// C5: a source's waker is ours, so a hostile one cannot stand there; but the one who waits may panic.
#[test]
fn a_waker_that_panics_under_a_token_s_cancel_keeps_no_other_from_being_woken() {
    let token = CancellationToken::new();
    let ctx = Context::background().with_cancellation_token(&token);
    let (heard, waker) = Wakes::new();
    let panics: Arc<OnceLock<()>> = Arc::default();
    let marks = Arc::clone(&panics);
    let hostile = waker_fn(move || {
        marks.set(()).unwrap();
        panic!("as the test wants it");
    });
    let (mut first, mut second) = (pin!(ctx.done()), pin!(ctx.done()));
    assert!(poll_once(first.as_mut(), &hostile).is_pending());
    assert!(poll_once(second.as_mut(), &waker).is_pending());
    let _ = catch_unwind(AssertUnwindSafe(|| token.cancel()));
    assert!(panics.get().is_some());
    assert_eq!(heard.count(), 1);
    assert!(ctx.is_done() && token.is_cancelled());
    assert!(poll_once(pin!(token.cancelled()), Waker::noop()).is_ready());
}
