//! What a body can do besides `yield_!`, and where it can run: each macro and each kind, called, with the items that come out.
//!
//! What of it is refused is in `ui`; what the runtime promises of it, in the files that are named for the promises.

use ctx_runtime::{Context, End, generator};
use futures_util::stream::{self, Stream, StreamExt};
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
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
