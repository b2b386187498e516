//! What a body can do besides `yield_!`, and where it can run: each macro and each kind, called, with the items that come out.
//!
//! What of it is refused is in `ui`; what the runtime promises of it, in the files that are named for the promises.

use ctx_runtime::{Context, End, generator};
use futures_util::stream::{self, Stream, StreamExt};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

async fn all<T>(items: impl Stream<Item = T>) -> Vec<T> {
    items.collect().await
}

/// What was said, in order.
type Log = Arc<Mutex<Vec<&'static str>>>;

fn say(log: &Log, what: &'static str) {
    log.lock().unwrap().push(what);
}

fn said(log: &Log) -> Vec<&'static str> {
    log.lock().unwrap().clone()
}

/// A tree of numbers, each before those below it.
#[derive(Clone)]
struct Tree(u64, Vec<Tree>);

fn tree() -> Tree {
    Tree(0, vec![Tree(1, vec![Tree(2, vec![]), Tree(3, vec![])]), Tree(4, vec![])])
}

mod yield_all {
    use super::*;

    #[generator]
    async fn below(limit: u64) -> u64 {
        for n in 0..limit {
            yield_!(n);
        }
    }

    #[tokio::test]
    async fn hands_on_a_generator_and_any_other_stream_in_order() {
        #[generator]
        async fn joined() -> u64 {
            yield_all!(below(3));
            yield_!(7);
            yield_all!(stream::iter([8, 9]),);
            yield_all!(below(0))
        }

        assert_eq!(all(joined()).await, [0, 1, 2, 7, 8, 9]);
    }

    #[tokio::test]
    async fn alone_is_a_yield() {
        #[generator]
        async fn again(limit: u64) -> u64 {
            yield_all!(below(limit));
        }

        assert_eq!(all(again(2)).await, [0, 1]);
    }

    #[tokio::test]
    async fn recurses_without_a_box() {
        #[generator(cancellable)]
        async fn walk(ctx: &Context, tree: Tree) -> u64 {
            yield_!(tree.0);
            for branch in tree.1 {
                yield_all!(walk(ctx, branch));
            }
        }

        assert_eq!(all(walk(&Context::background(), tree())).await, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn recurses_inline_through_a_box_and_borrows() {
        fn boxed<'a>(tree: &'a Tree) -> Pin<Box<dyn Stream<Item = &'a u64> + 'a>> {
            Box::pin(walk(tree))
        }

        #[generator(inline)]
        async fn walk(tree: &Tree) -> &u64 {
            yield_!(&tree.0);
            for branch in &tree.1 {
                yield_all!(boxed(branch));
            }
        }

        let tree = tree();
        assert_eq!(all(walk(&tree)).await, [&0, &1, &2, &3, &4]);
    }

    #[tokio::test]
    async fn of_results_hands_errors_on_and_goes_on() {
        #[generator]
        async fn parsed(texts: Vec<&'static str>) -> Result<u64, std::num::ParseIntError> {
            yield_all!(stream::iter(texts).map(str::parse));
            "y".parse::<u64>()?;
        }

        let items = all(parsed(vec!["1", "x", "2"])).await;
        assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
    }

    #[tokio::test]
    async fn in_branches_that_run_at_the_same_time_serves_them_in_turn() {
        #[generator]
        async fn both() -> u64 {
            let ((), ()) =
                tokio::join!(async { yield_all!(below(2)) }, async { yield_all!(stream::iter([10, 11])) });
        }

        let mut items = all(both()).await;
        items.sort_unstable();
        assert_eq!(items, [0, 1, 10, 11]);
    }

    #[tokio::test]
    async fn drops_what_it_hands_on_with_the_body() {
        #[generator]
        async fn outer(log: Log) -> u64 {
            let inner = inner(log);
            yield_all!(inner);
        }
        #[generator]
        async fn inner(log: Log) -> u64 {
            defer!(async move { say(&log, "inner") });
            yield_!(1);
            pending().await
        }

        let log = Log::default();
        let mut items = outer(Arc::clone(&log));
        assert_eq!(items.next().await, Some(1));
        assert!(matches!(items.stop().await, End::Cancelled(_)));
        while said(&log).is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

mod shield {
    use super::*;

    #[tokio::test]
    async fn gives_what_its_future_gives() {
        #[generator]
        async fn sums() -> u64 {
            let first = shield!(async { 1 });
            yield_!(first + shield!(std::future::ready(2),));
        }

        assert_eq!(all(sums()).await, [3]);
    }

    #[tokio::test]
    async fn in_an_arm_of_select_is_over_before_the_generator_is() {
        #[generator]
        async fn commits(begun: oneshot::Sender<()>, go_on: oneshot::Receiver<()>, log: Log) -> u64 {
            yield_!(1);
            tokio::select! {
                () = async {
                    shield!(async {
                        begun.send(()).unwrap();
                        go_on.await.unwrap();
                        say(&log, "committed");
                    });
                    say(&log, "not reached");
                } => {}
                () = pending() => {}
            }
        }

        let log = Log::default();
        let ((begun, has_begun), (go_on, goes_on)) = (oneshot::channel(), oneshot::channel());
        let mut items = commits(begun, goes_on, Arc::clone(&log));
        assert_eq!(items.next().await, Some(1));
        tokio::select! {
            _ = items.next() => unreachable!("it waits for `go_on`"),
            begun = has_begun => begun.unwrap(),
        }
        items.cancel();
        go_on.send(()).unwrap();
        assert!(matches!(items.stop().await, End::Cancelled(_)));
        assert_eq!(said(&log), ["committed"]);
    }

    #[tokio::test]
    async fn a_question_mark_beside_it_ends_the_generator() {
        #[generator]
        async fn parsed(text: &'static str) -> Result<u64, std::num::ParseIntError> {
            let number = shield!(async { text.parse() })?;
            yield_!(Ok(number));
        }

        assert_eq!(all(parsed("4")).await, [Ok(4)]);
        assert!(all(parsed("x")).await.remove(0).is_err());
    }
}

mod defer {
    use super::*;

    struct Connection(Log);

    impl Connection {
        async fn close(self) {
            tokio::task::yield_now().await;
            say(&self.0, "closed");
        }
    }

    #[generator]
    async fn in_order(log: Log) -> &'static str {
        let (first, last) = (Arc::clone(&log), Arc::clone(&log));
        defer!(async move { say(&first, "first") });
        let _guard = defer!(Connection(Arc::clone(&log)), async |conn: Connection| conn.close().await);
        defer!(async move {
            tokio::task::yield_now().await;
            say(&last, "last");
        });
        yield_!("item");
        say(&log, "body");
    }

    #[tokio::test]
    async fn runs_when_the_body_is_gone_the_last_one_first() {
        let log = Log::default();
        let mut items = in_order(Arc::clone(&log));
        assert_eq!(items.next().await, Some("item"));
        assert!(said(&log).is_empty());
        assert_eq!(items.next().await, None);
        assert!(matches!(items.stop().await, End::Finished));
        // A guard of the body's outermost scope goes when that ends, before the body is gone.
        let said = said(&log);
        assert_eq!(said[0], "body");
        assert!(said.iter().position(|what| *what == "last") < said.iter().position(|what| *what == "first"));
        assert!(said.contains(&"closed"));
    }

    #[tokio::test]
    async fn runs_in_reverse_order_guards_too_when_the_handle_stops_it() {
        let log = Log::default();
        let mut items = in_order(Arc::clone(&log));
        assert_eq!(items.next().await, Some("item"));
        assert!(matches!(items.stop().await, End::Cancelled(_)));
        assert_eq!(said(&log), ["last", "closed", "first"]);
    }

    #[tokio::test]
    async fn of_a_body_that_never_ran_nothing_runs() {
        let log = Log::default();
        in_order(Arc::clone(&log)).stop().await;
        assert!(said(&log).is_empty());
    }

    #[tokio::test]
    async fn a_guard_is_the_value_and_is_cleaned_up_where_it_is_dropped() {
        #[generator]
        async fn lengths(log: Log) -> usize {
            let mut text = defer!(String::from("one"), |text: String| async move {
                assert_eq!(text, "one, two");
                say(&log, "cleaned up");
            });
            yield_!(text.len());
            text.push_str(", two");
            yield_!(text.len());
            drop(text);
            pending().await
        }

        let log = Log::default();
        let mut items = lengths(Arc::clone(&log));
        assert_eq!((items.next().await, items.next().await), (Some(3), Some(8)));
        assert!(said(&log).is_empty());
        tokio::select! {
            _ = items.next() => unreachable!("it waits for ever"),
            () = async {
                while said(&log).is_empty() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        assert_eq!(said(&log), ["cleaned up"]);
    }

    #[tokio::test]
    async fn an_error_that_ends_the_generator_leaves_nothing_out() {
        #[generator]
        async fn parsed(text: &'static str, log: Log) -> Result<u64, std::num::ParseIntError> {
            let guarded = Arc::clone(&log);
            defer!(async move { say(&log, "deferred") });
            let _guard = defer!((), async move |()| say(&guarded, "guarded"));
            yield_!(Ok(text.parse()?));
        }

        let log = Log::default();
        let mut items = parsed("x", Arc::clone(&log));
        assert!(items.next().await.unwrap().is_err());
        items.stop().await;
        let mut said = said(&log);
        said.sort_unstable();
        assert_eq!(said, ["deferred", "guarded"]);
    }

    #[tokio::test(start_paused = true)]
    async fn has_the_grace_that_the_option_gives() {
        const TICK: Duration = Duration::from_secs(1);

        #[generator(grace = TICK * ticks, name = "slow")]
        async fn slow(ticks: u32) -> u8 {
            defer!(pending());
            yield_!(1);
        }

        let mut items = slow(3);
        assert_eq!(items.next().await, Some(1));
        let asked = tokio::time::Instant::now();
        items.stop().await;
        assert_eq!(asked.elapsed().as_secs(), 3);
    }
}

mod macros_of_others {
    use super::*;

    macro_rules! hand_on_and_clean_up {
        ($items:expr, $log:expr) => {{
            let log = $log;
            defer!(async move { say(&log, "bye") });
            shield!(async {});
            yield_all!($items)
        }};
    }

    #[tokio::test]
    async fn may_bring_all_of_them() {
        #[generator]
        async fn hidden(log: Log) -> u64 {
            hand_on_and_clean_up!(stream::iter(0..2), log);
        }

        let log = Log::default();
        let mut items = hidden(Arc::clone(&log));
        assert_eq!((items.next().await, items.next().await, items.next().await), (Some(0), Some(1), None));
        items.stop().await;
        assert_eq!(said(&log), ["bye"]);
    }

    #[tokio::test]
    async fn may_have_the_name_of_one_where_the_body_defines_them() {
        #[generator]
        async fn own() -> u64 {
            macro_rules! shield {
                ($a:expr, $b:expr) => {
                    $a + $b
                };
            }
            yield_!(shield!(1, 2));
        }

        assert_eq!(all(own()).await, [3]);
    }
}

mod local {
    use super::*;
    use ctx_runtime::LocalGenerator;
    use std::cell::{Cell, RefCell};
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn holds_and_yields_what_may_not_leave_its_thread() {
        #[generator(cancellable, local, buffer = 1, name = "shared")]
        async fn shared(ctx: &Context, text: Rc<str>, times: usize) -> Rc<str> {
            let seen = Rc::new(Cell::new(0));
            while seen.get() < times {
                seen.set(seen.get() + 1);
                tokio::task::yield_now().await;
                yield_!(Rc::clone(&text));
            }
            assert!(!ctx.is_done());
        }

        LocalSet::new()
            .run_until(async {
                let items: LocalGenerator<Rc<str>> = shared(&Context::background(), "a".into(), 2);
                assert_eq!(items.name(), "shared");
                assert_eq!(all(items).await, ["a".into(), "a".into()]);
            })
            .await;
    }

    #[tokio::test]
    async fn ends_with_its_context_and_has_clean_ups() {
        /// Nothing of it is `Send`.
        #[generator(cancellable, local)]
        async fn rests(ctx: Context, log: Rc<RefCell<Vec<&'static str>>>) -> Rc<u64> {
            let guarded = Rc::clone(&log);
            defer!(async move { log.borrow_mut().push("bye") });
            let number = defer!(Rc::new(7), async move |_| guarded.borrow_mut().push("closed"));
            yield_!(shield!(async { Rc::clone(&number) }));
            pending().await
        }

        LocalSet::new()
            .run_until(async {
                let (log, (ctx, stop)) = (Rc::default(), Context::background().with_cancel());
                let mut items = rests(ctx, Rc::clone(&log));
                assert_eq!(items.next().await, Some(Rc::new(7)));
                stop.cancel();
                assert_eq!(items.next().await, None);
                assert!(matches!(items.stop().await, End::Cancelled(_)));
                assert_eq!(*log.borrow(), ["closed", "bye"]);
            })
            .await;
    }

    #[tokio::test]
    async fn recurses_and_takes_question_marks() {
        #[generator(local)]
        async fn walk(tree: Tree, seen: Rc<RefCell<Vec<u64>>>) -> Result<u64, String> {
            seen.borrow_mut().push(tree.0);
            yield_!(Ok(tree.0));
            for branch in tree.1 {
                yield_all!(walk(branch, Rc::clone(&seen)));
            }
            Err("no more".to_owned()).or_else(|none| if tree.0 == 0 { Err(none) } else { Ok(()) })?;
        }

        LocalSet::new()
            .run_until(async {
                let seen = Rc::default();
                let mut items = all(walk(tree(), Rc::clone(&seen))).await;
                assert_eq!(items.pop(), Some(Err("no more".to_owned())));
                assert_eq!(items, [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
                assert_eq!(*seen.borrow(), [0, 1, 2, 3, 4]);
            })
            .await;
    }
}

mod blocking {
    use super::*;
    use std::io;
    use std::num::ParseIntError;
    use std::sync::mpsc;

    #[tokio::test]
    async fn its_body_is_plain_code_on_a_thread_of_its_own() {
        #[generator(blocking)]
        fn squares(limit: u64, caller: std::thread::ThreadId) -> u64 {
            assert_ne!(std::thread::current().id(), caller);
            for n in 0..limit {
                yield_!(n * n);
            }
        }

        assert_eq!(all(squares(4, std::thread::current().id())).await, [0, 1, 4, 9]);
    }

    #[tokio::test]
    async fn takes_arguments_self_and_options_as_the_others_do() {
        struct Table {
            rows: Vec<u64>,
        }

        impl Table {
            #[generator(cancellable, blocking, buffer = extra, name = "rows")]
            fn rows(mut self, ctx: &Context, extra: usize, (_, last): (u64, u64)) -> u64 {
                self.rows.push(last);
                assert!(!ctx.is_done());
                for row in self.rows {
                    yield_!(row);
                }
            }
        }

        let rows = Table { rows: vec![1, 2] }.rows(&Context::background(), 4, (0, 3));
        assert_eq!(rows.name(), "rows");
        assert_eq!(all(rows).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_yield_leaves_the_body_when_the_generator_is_stopped() {
        struct Gone(mpsc::Sender<u64>, u64);

        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.send(self.1);
            }
        }

        #[generator(blocking)]
        fn endless(gone: mpsc::Sender<u64>) -> u64 {
            let mut gone = Gone(gone, 0);
            loop {
                yield_!(gone.1);
                gone.1 += 1;
            }
        }

        let (gone, is_gone) = mpsc::channel();
        let mut items = endless(gone);
        assert_eq!((items.next().await, items.next().await), (Some(0), Some(1)));
        assert!(matches!(items.stop().await, End::Cancelled(_)));
        assert_eq!(is_gone.try_iter().collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn a_yield_in_a_loop_in_a_loop_leaves_both() {
        #[generator(cancellable, blocking)]
        fn pairs(ctx: &Context, log: Log) -> (u64, u64) {
            for a in 0..3 {
                for b in 0..2 {
                    yield_!((a, b));
                }
                say(&log, "inner loop over");
            }
        }

        let (log, (ctx, stop)) = (Log::default(), Context::background().with_cancel());
        let mut items = pairs(&ctx, Arc::clone(&log));
        assert_eq!(items.next().await, Some((0, 0)));
        stop.cancel();
        assert_eq!(items.next().await, None);
        items.stop().await;
        assert!(said(&log).is_empty());
    }

    #[generator(blocking)]
    fn numbers(texts: &'static str) -> Result<u64, ParseIntError> {
        for text in texts.split(' ') {
            match text {
                "end" => return,
                "ok" => return Ok(()),
                "skip" => yield_!(text.parse()),
                "last" => return Err(text.parse::<u64>().unwrap_err()),
                _ => yield_!(Ok(text.parse()?)),
            }
        }
    }

    #[tokio::test]
    async fn results_end_with_an_error_and_without_one() {
        let taken =
            |texts| async move { all(numbers(texts)).await.into_iter().map(Result::ok).collect::<Vec<_>>() };
        assert_eq!(taken("1 two 3").await, [Some(1), None]);
        assert_eq!(taken("1 skip 3").await, [Some(1), None, Some(3)]);
        assert_eq!(taken("1 end 3").await, [Some(1)]);
        assert_eq!(taken("1 ok 3").await, [Some(1)]);
        assert_eq!(taken("1 last 3").await, [Some(1), None]);
        assert_eq!(taken("1 2 3").await, [Some(1), Some(2), Some(3)]);
    }

    #[tokio::test]
    async fn results_through_an_alias_in_an_endless_loop() {
        #[generator(blocking)]
        fn numbers() -> io::Result<u64> {
            let mut n = 0;
            loop {
                yield_!(Ok(n));
                n += 1;
                if n > 1 {
                    Err(io::Error::other("enough"))?;
                }
            }
        }

        let items = all(numbers()).await;
        assert_eq!(
            items.iter().map(|item| item.as_ref().ok().copied()).collect::<Vec<_>>(),
            [Some(0), Some(1), None]
        );
    }

    #[tokio::test]
    async fn results_of_a_body_that_changes_its_arguments_in_place() {
        #[generator(blocking)]
        fn bytes(mut file: io::Cursor<&'static [u8]>, mut left: u8) -> io::Result<u8> {
            let mut byte = [0];
            while left > 0 {
                io::Read::read_exact(&mut file, &mut byte)?;
                left -= 1;
                yield_!(Ok(byte[0]));
            }
        }

        let items = all(bytes(io::Cursor::new(b"ab"), 3)).await;
        assert_eq!(items.into_iter().map(Result::ok).collect::<Vec<_>>(), [Some(b'a'), Some(b'b'), None]);
    }

    #[tokio::test]
    async fn a_stopped_one_of_results_yields_no_error() {
        #[generator(blocking)]
        fn endless(log: Log) -> Result<u64, ParseIntError> {
            loop {
                yield_!(Ok(1));
                say(&log, "round");
            }
        }

        let log = Log::default();
        let mut items = endless(Arc::clone(&log));
        assert_eq!(items.next().await, Some(Ok(1)));
        items.cancel();
        assert_eq!(items.next().await, None);
        assert!(matches!(items.stop().await, End::Cancelled(_)));
        assert!(said(&log).is_empty());
    }

    #[tokio::test]
    async fn macros_of_others_may_yield_but_names_are_not_in_the_way() {
        macro_rules! twice {
            ($item:expr) => {{
                yield_!($item);
                yield_!($item)
            }};
        }

        #[generator(blocking)]
        fn count(co: u64, body: u64, item: u64) -> Result<u64, u64> {
            let result = co + item;
            twice!(Ok(body));
            'body: loop {
                yield_!(Ok(result));
                if item > 0 {
                    break 'body;
                }
            }
            return Err(co);
        }

        assert_eq!(all(count(1, 2, 3)).await, [Ok(2), Ok(2), Ok(4), Err(1)]);
    }

    #[tokio::test]
    async fn its_last_expression_may_be_anything_without_a_value() {
        #[generator(blocking)]
        fn either(first: bool) -> u64 {
            if first { yield_!(1) } else { yield_!(2) }
        }
        #[generator(blocking)]
        fn one() -> u64 {
            yield_!(3)
        }

        assert_eq!(all(either(true)).await, [1]);
        assert_eq!(all(either(false)).await, [2]);
        assert_eq!(all(one()).await, [3]);
    }

    #[test]
    fn outside_a_runtime_it_panics() {
        #[generator(blocking)]
        fn one() -> u64 {
            yield_!(1);
        }

        assert!(catch_unwind(AssertUnwindSafe(|| drop(one()))).is_err());
    }
}

/// The expansion names everything by its full path.
mod surroundings {
    #![no_implicit_prelude]

    use ::ctx_runtime::generator;

    #[generator(local, grace = ::std::time::Duration::from_secs(1))]
    pub(super) async fn local() -> u64 {
        defer!(async {});
        let one = defer!(1, async |_: u64| ());
        yield_!(shield!(async { *one }));
        yield_all!(::futures_util::stream::iter([2]));
    }

    #[generator(blocking)]
    pub(super) fn blocking() -> ::std::result::Result<u64, ::std::num::ParseIntError> {
        yield_!("1".parse());
        "x".parse::<u64>()?;
    }
}

#[tokio::test]
async fn they_work_without_a_prelude() {
    let set = tokio::task::LocalSet::new();
    assert_eq!(set.run_until(async { all(surroundings::local()).await }).await, [1, 2]);
    assert_eq!(all(surroundings::blocking()).await.len(), 2);
}
