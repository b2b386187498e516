//! What the attribute takes: signatures and bodies, each called, with the items that come out.
//!
//! What it refuses is in `ui`; what only has to compile, in `ui/accepted`.

use ctx_runtime::{Context, End, Generator, generator};
use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::io;
use std::num::ParseIntError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

async fn all<T>(mut items: Generator<T>) -> Vec<T> {
    let mut taken = Vec::new();
    while let Some(item) = items.next().await {
        taken.push(item);
    }
    taken
}

/// Writes its name down when it is dropped.
struct Witness(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

mod signatures {
    use super::*;

    #[tokio::test]
    async fn arguments_by_value_and_by_pattern() {
        struct Point {
            x: u64,
            y: u64,
        }

        #[allow(clippy::too_many_arguments)] // one of each kind
        #[generator]
        async fn numbers(
            plain: u64,
            mut counted: u64,
            (first, (second, _)): (u64, (u64, String)),
            Point { x, y: renamed }: Point,
            [.., last]: [u64; 3],
            ref by_reference: u64,
            whole @ (part, _): (u64, u64),
            _: String,
            r#type: u64,
        ) -> u64 {
            counted += 1;
            for n in [plain, counted, first, second, x, renamed, last, *by_reference, whole.1, part, r#type] {
                yield_!(n);
            }
        }

        let numbers = numbers(
            1,
            1,
            (3, (4, String::new())),
            Point { x: 5, y: 6 },
            [0, 0, 7],
            8,
            (10, 9),
            String::new(),
            11,
        );
        assert_eq!(all(numbers).await, (1..=11).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn generic_parameters_and_where_clauses() {
        #[generator]
        async fn shown<T, const N: usize>(
            values: [T; N],
            show: impl Fn(&T) -> String + Send + 'static,
        ) -> String
        where
            T: Send + 'static,
        {
            for value in values {
                yield_!(show(&value));
            }
        }

        fn show(value: &(impl Display + Debug)) -> String {
            format!("{value} {value:?}")
        }

        assert_eq!(all(shown(["a", "b"], show)).await, ["a \"a\"", "b \"b\""]);
    }

    #[tokio::test]
    async fn methods_that_own_themselves_in_every_way() {
        #[derive(Clone)]
        struct Table {
            rows: Vec<u64>,
        }

        impl Table {
            const LAST: u64 = 9;

            #[generator]
            async fn owned(mut self) -> u64 {
                self.rows.push(Self::LAST);
                for row in self.rows {
                    yield_!(row);
                }
            }

            #[generator(cancellable)]
            async fn shared(self: Arc<Self>, ctx: &Context) -> u64 {
                for row in &self.rows {
                    yield_!(*row);
                }
            }

            #[generator]
            async fn boxed(self: Box<Self>, more: u64) -> Self {
                yield_!(Self { rows: vec![self.rows[0] + more] });
            }
        }

        trait Rows {
            fn rows(self, ctx: Context) -> Generator<u64>;
        }

        impl Rows for Table {
            #[generator(cancellable)]
            async fn rows(self, ctx: Context) -> u64 {
                for row in self.rows {
                    yield_!(row);
                }
            }
        }

        let (table, ctx) = (Table { rows: vec![1, 2] }, Context::background());
        assert_eq!(all(table.clone().owned()).await, [1, 2, 9]);
        assert_eq!(all(Arc::new(table.clone()).shared(&ctx)).await, [1, 2]);
        assert_eq!(all(Box::new(table.clone()).boxed(4)).await[0].rows, [5]);
        assert_eq!(all(table.rows(ctx)).await, [1, 2]);
    }

    #[tokio::test]
    async fn the_context_in_the_body_is_the_generators_own() {
        #[generator(cancellable)]
        async fn contexts(#[ctx] request: &Context, server: Context) -> Context {
            yield_!(request.clone());
            yield_!(server);
        }

        let (request, cancel) = Context::background().with_value("request").with_cancel();
        let (server, _alive) = Context::background().with_cancel();
        let mut contexts = contexts(&request, server.clone());
        let own = contexts.next().await.unwrap();
        assert_eq!(own.value(), Some(&"request"));
        drop(contexts);
        assert!(own.is_done() && !request.is_done() && !server.is_done());
        drop(cancel);
    }

    #[tokio::test]
    async fn the_context_by_value_ends_it_too() {
        #[generator(cancellable)]
        async fn forever(start: u64, ctx: Context) -> u64 {
            yield_!(start);
            ctx.done().await;
        }

        let (ctx, stop) = Context::background().with_cancel();
        let mut numbers = forever(7, ctx);
        assert_eq!(numbers.next().await, Some(7));
        stop.cancel();
        assert_eq!(numbers.next().await, None);
        assert!(matches!(numbers.end(), Some(End::Cancelled(_))));
    }

    #[tokio::test]
    async fn options_reach_the_builder() {
        const TEXT: &str = "by another name";

        #[generator]
        async fn r#loop() -> u8 {
            yield_!(0);
        }
        #[generator(name = TEXT, buffer = usize::from(items), crate = ctx_runtime)]
        async fn named(items: u8, started: Arc<Mutex<u8>>) -> u8 {
            for n in 0..items {
                *started.lock().unwrap() += 1;
                yield_!(n);
            }
        }

        assert_eq!(r#loop().name(), "loop");
        let started = Arc::new(Mutex::new(0));
        let named = named(2, Arc::clone(&started));
        assert_eq!(named.name(), TEXT);
        while *started.lock().unwrap() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(all(named).await, [0, 1]);
    }

    #[test]
    fn outside_a_runtime_the_panic_is_at_the_callers_line() {
        #[generator]
        async fn count() -> u8 {
            yield_!(0);
        }

        thread_local!(static LINE: Cell<Option<(String, u32)>> = const { Cell::new(None) });
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            LINE.set(info.location().map(|place| (place.file().to_owned(), place.line())));
            report(info);
        }));
        let line = line!() + 1;
        let outside = catch_unwind(AssertUnwindSafe(|| drop(count())));
        assert!(outside.is_err());
        assert_eq!(LINE.take(), Some((file!().to_owned(), line)));
    }

    #[tokio::test]
    async fn a_report_shows_the_callers_line() {
        #[generator(cancellable)]
        async fn count(ctx: &Context) -> u8 {
            yield_!(0);
        }

        let (ctx, _stop) = Context::background().with_cancel();
        let line = line!() + 1;
        let numbers = count(&ctx);
        let report = ctx.live();
        let entry = report.iter().next().unwrap();
        assert_eq!((entry.name(), entry.started().file(), entry.started().line()), ("count", file!(), line));
        drop(numbers);
    }
}

mod arguments_live_as_long_as_the_body {
    use super::*;

    #[generator]
    async fn unused(
        _first: Witness,
        _: Witness,
        (_, named): (Witness, Witness),
        log: Arc<Mutex<Vec<&'static str>>>,
    ) -> u8 {
        let _in_body = Witness("body", log);
        yield_!(0);
        drop(named);
        yield_!(1);
    }

    fn with_witnesses() -> (Generator<u8>, Arc<Mutex<Vec<&'static str>>>) {
        let log = Arc::default();
        let witness = |name| Witness(name, Arc::clone(&log));
        let pair = (witness("in a pair"), witness("named"));
        (unused(witness("first"), witness("second"), pair, Arc::clone(&log)), log)
    }

    #[tokio::test]
    async fn used_or_not_and_go_in_reverse_order() {
        let (mut items, log) = with_witnesses();
        assert_eq!(items.next().await, Some(0));
        assert!(log.lock().unwrap().is_empty());
        assert_eq!(items.next().await, Some(1));
        assert_eq!(*log.lock().unwrap(), ["named"]);
        assert_eq!(items.next().await, None);
        assert_eq!(*log.lock().unwrap(), ["named", "body", "in a pair", "second", "first"]);
    }

    #[tokio::test]
    async fn also_if_the_body_never_ran() {
        let (items, log) = with_witnesses();
        assert!(log.lock().unwrap().is_empty());
        drop(items);
        assert_eq!(log.lock().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn and_so_does_all_of_self() {
        struct Table {
            rows: u8,
            _guard: Witness,
        }

        impl Table {
            #[generator]
            async fn rows(self) -> u8 {
                yield_!(self.rows);
                yield_!(self.rows);
            }

            #[generator]
            async fn checked(self) -> io::Result<u8> {
                yield_!(Ok(self.rows));
                yield_!(Ok(self.rows));
            }
        }

        let log = Arc::default();
        let table = || Table { rows: 3, _guard: Witness("guard", Arc::clone(&log)) };
        let mut rows = table().rows();
        assert_eq!(rows.next().await, Some(3));
        assert!(log.lock().unwrap().is_empty());
        drop(rows);
        assert_eq!(*log.lock().unwrap(), ["guard"]);

        let mut rows = table().checked();
        assert_eq!(rows.next().await.unwrap().unwrap(), 3);
        assert_eq!(log.lock().unwrap().len(), 1);
        drop(rows);
        assert_eq!(log.lock().unwrap().len(), 2);
    }
}

mod bodies {
    use super::*;

    #[tokio::test]
    async fn yield_in_the_arms_of_select_and_the_blocks_of_join() {
        #[generator]
        async fn count() -> u64 {
            tokio::select! {
                biased;
                () = std::future::ready(()) => yield_!(0),
                () = std::future::pending() => {}
            }
            let ((), ()) = tokio::join!(async { yield_!(1) }, async {
                yield_!(2);
            });
            tokio::select! {
                () = async {
                    yield_!(3);
                    yield_!(4);
                } => {}
                else => {}
            }
        }

        assert_eq!(all(count()).await, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn yield_among_the_arguments_of_macros() {
        #[generator]
        async fn count() -> u64 {
            let units = Vec::from_iter(vec![yield_!(0), yield_!(1)]);
            assert_eq!(units.len(), 2, "{:?}", yield_!(99));
            let text = format!("{:?}", { yield_!(2) });
            yield_!(u64::try_from(text.len()).unwrap());
        }

        assert_eq!(all(count()).await, [0, 1, 2, 2]);
    }

    macro_rules! twice {
        ($item:expr) => {{
            yield_!($item);
            yield_!($item);
        }};
    }

    macro_rules! generators {
        ($($vis:vis fn $name:ident($argument:ident: $ty:ty) -> $item:ty = $value:expr, $body:block;)*) => {$(
            #[generator]
            $vis async fn $name($argument: $ty) -> $item {
                yield_!($value);
                $body
            }
        )*};
    }

    macro_rules! attributed {
        ($($item:item)*) => {$(#[generator] $item)*};
    }

    generators! {
        pub(super) fn doubled(n: u64) -> u64 = n * 2, { println!("{n}"); yield_!(n) };
        fn checked(text: &'static str) -> io::Result<u64> = text.parse().map_err(io::Error::other), {};
    }

    attributed! {
        async fn whole(start: u64) -> u64 {
            yield_!(start);
        }
    }

    #[tokio::test]
    async fn yield_in_the_users_macros_and_generators_made_by_macros() {
        #[generator]
        async fn count() -> u64 {
            macro_rules! thrice {
                ($item:expr) => {
                    twice!($item);
                    yield_!($item)
                };
            }
            twice!(0);
            thrice!(1);
        }

        assert_eq!(all(count()).await, [0, 0, 1, 1, 1]);
        assert_eq!(all(doubled(4)).await, [8, 4]);
        assert_eq!(all(checked("4")).await.remove(0).unwrap(), 4);
        assert_eq!(all(whole(4)).await, [4]);
    }

    #[tokio::test]
    async fn names_of_the_expansion_are_not_in_the_way() {
        #[generator(cancellable)]
        async fn count(ctx: &Context, co: u64, item: u64, result: u64, arg1: u64) -> Result<u64, u64> {
            struct Generator;
            let _ = (Generator, ctx);
            for n in [co, item, result, arg1] {
                yield_!(Ok(n));
            }
            let (co, error) = (5, 6);
            yield_!(Ok(co));
            return Err(error);
        }

        let numbers = count(&Context::background(), 1, 2, 3, 4);
        assert_eq!(all(numbers).await, [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), Err(6)]);
    }

    #[tokio::test]
    async fn finite_endless_empty_and_recursive_ones() {
        #[generator]
        async fn endless() -> u64 {
            for n in 0.. {
                yield_!(n);
            }
        }
        #[generator]
        async fn nothing(skip: bool) -> u64 {
            if skip {
                return;
            }
            yield_!(0);
        }
        #[generator]
        async fn walk(depth: u64) -> u64 {
            yield_!(depth);
            if depth > 0 {
                let mut below = walk(depth - 1);
                while let Some(n) = below.next().await {
                    yield_!(n);
                }
            }
        }

        let mut endless = endless();
        assert_eq!((endless.next().await, endless.next().await), (Some(0), Some(1)));
        assert!(matches!(endless.stop().await, End::Cancelled(_)));
        assert_eq!(all(nothing(true)).await, []);
        assert_eq!(all(walk(3)).await, [3, 2, 1, 0]);
    }

    #[tokio::test]
    async fn labels_let_else_and_early_returns() {
        #[generator]
        async fn evens(texts: Vec<&'static str>) -> u64 {
            'texts: for text in texts {
                let Ok(n) = text.parse::<u64>() else { continue };
                for step in 0.. {
                    match n {
                        0 => return,
                        n if n % 2 == 1 => continue 'texts,
                        n if step == 0 => yield_!(n),
                        _ => break,
                    }
                }
            }
        }

        assert_eq!(all(evens(vec!["2", "x", "3", "4", "0", "6"])).await, [2, 4]);
    }

    #[tokio::test]
    async fn the_line_is_the_users() {
        #[generator]
        async fn lines() -> u32 {
            yield_!(line!());
        }

        let line = line!() - 3;
        assert_eq!(all(lines()).await, [line]);
    }

    #[tokio::test]
    async fn what_the_item_borrows_on_the_way_is_let_go_before_the_wait() {
        #[generator]
        async fn locked(numbers: Arc<Mutex<u64>>) -> u64 {
            yield_!(*numbers.lock().unwrap());
        }

        let numbers = Arc::new(Mutex::new(7));
        let mut items = locked(Arc::clone(&numbers));
        assert_eq!(items.next().await, Some(7));
        assert!(numbers.try_lock().is_ok());
    }
}

mod results {
    use super::*;

    #[generator]
    async fn numbers(texts: &'static str) -> Result<u64, ParseIntError> {
        for text in texts.split(' ') {
            match text {
                "end" => return,
                "ok" => return Ok(()),
                "skip" => yield_!(text.parse()),
                _ => yield_!(Ok(text.parse()?)),
            }
        }
    }

    fn shown<E: Display>(items: Vec<Result<u64, E>>) -> String {
        let items: Vec<String> =
            items.into_iter().map(|item| item.map_or_else(|e| e.to_string(), |n| n.to_string())).collect();
        items.join(", ")
    }

    #[tokio::test]
    async fn a_question_mark_yields_the_error_and_ends() {
        assert_eq!(shown(all(numbers("1 two 3")).await), "1, invalid digit found in string");
    }

    #[tokio::test]
    async fn an_error_that_is_yielded_does_not_end() {
        assert_eq!(shown(all(numbers("1 skip 3")).await), "1, invalid digit found in string, 3");
    }

    #[tokio::test]
    async fn it_ends_without_an_error_by_return_and_at_the_end() {
        assert_eq!(shown(all(numbers("1 end 3")).await), "1");
        assert_eq!(shown(all(numbers("1 ok 3")).await), "1");
        assert_eq!(shown(all(numbers("1 2 3")).await), "1, 2, 3");
    }

    #[tokio::test]
    async fn errors_convert_and_coerce_through_any_path_that_ends_in_result() {
        mod aliases {
            pub(super) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> =
                std::result::Result<T, E>;
        }

        #[generator]
        async fn numbers(text: &'static str) -> aliases::Result<u64> {
            match text {
                "boxed" => return Err(Box::new(io::Error::other("boxed"))),
                "text" => Err("text")?,
                text => yield_!(Ok(text.parse()?)),
            }
        }

        assert_eq!(shown(all(numbers("boxed")).await), "boxed");
        assert_eq!(shown(all(numbers("text")).await), "text");
        assert_eq!(shown(all(numbers("x")).await), "invalid digit found in string");
        assert_eq!(shown(all(numbers("1")).await), "1");
    }

    #[tokio::test]
    async fn a_return_of_a_closure_or_a_block_is_its_own() {
        #[generator]
        async fn numbers() -> io::Result<u64> {
            let closure = |early: bool| {
                if early {
                    return;
                }
                println!("late");
            };
            closure(true);
            async {
                if std::process::id() > 0 {
                    return;
                }
                println!("never");
            }
            .await;
            yield_!(Ok(1));
        }

        assert_eq!(shown(all(numbers()).await), "1");
    }

    #[tokio::test]
    async fn a_bare_return_among_the_arguments_of_macros() {
        #[generator(cancellable)]
        async fn numbers(ctx: &Context, way: u64) -> io::Result<u64> {
            yield_!(Ok(if way == 0 { return } else { way }));
            assert_ne!(if way == 1 { return } else { way }, 1);
            tokio::select! {
                biased;
                () = ctx.done() => return,
                () = std::future::ready(()), if way == 2 => return,
                way = async { way } => {
                    if way == 3 {
                        return;
                    }
                }
                else => return,
            }
            yield_!(Ok(9));
        }

        let ctx = Context::background();
        assert_eq!(shown(all(numbers(&ctx, 0)).await), "");
        assert_eq!(shown(all(numbers(&ctx, 1)).await), "1");
        assert_eq!(shown(all(numbers(&ctx, 2)).await), "2");
        assert_eq!(shown(all(numbers(&ctx, 3)).await), "3");
        assert_eq!(shown(all(numbers(&ctx, 4)).await), "4, 9");
    }

    #[tokio::test]
    async fn an_endless_one_needs_no_end() {
        #[generator]
        async fn numbers() -> io::Result<u64> {
            let mut n = 0;
            loop {
                yield_!(Ok(n));
                n += 1;
                if n > 1 {
                    Err(io::Error::other("enough"))?;
                }
            }
        }

        assert_eq!(shown(all(numbers()).await), "0, 1, enough");
    }
}

/// The expansion names everything by its full path.
mod surroundings {
    #![no_implicit_prelude]

    use ::ctx_runtime::generator;

    #[allow(dead_code, non_camel_case_types)]
    mod shadows {
        pub(super) struct Ok;
        pub(super) struct Err;
        pub(super) struct Result;
        pub(super) struct Option;
        pub(super) struct Some;
        pub(super) struct None;
        pub(super) struct Context;
        pub(super) struct Generator;
        pub(super) struct Send;
        pub(super) mod std {}
        pub(super) mod core {}
        pub(super) mod ctx_runtime {}
    }

    #[allow(unused_imports)]
    use self::shadows::*;

    #[generator]
    pub(super) async fn numbers(fail: bool) -> ::std::io::Result<u64> {
        if fail {
            return ::std::result::Result::Err(::std::io::Error::other("as told"));
        }
        yield_!(::std::result::Result::Ok(1));
        return;
    }

    #[generator(cancellable, buffer = 1, name = "words")]
    pub(super) async fn words(ctx: &::ctx_runtime::Context) -> &'static str {
        yield_!("one");
    }

    pub(super) struct Table(pub(super) u64);

    impl Table {
        #[generator]
        pub(super) async fn rows(self, _first: bool) -> u64 {
            yield_!(self.0);
        }
    }
}

#[tokio::test]
async fn it_works_without_a_prelude_and_among_shadows() {
    assert_eq!(all(surroundings::numbers(false)).await.remove(0).unwrap(), 1);
    assert_eq!(all(surroundings::numbers(true)).await.remove(0).unwrap_err().to_string(), "as told");
    assert_eq!(all(surroundings::words(&Context::background())).await, ["one"]);
    assert_eq!(all(surroundings::Table(3).rows(true)).await, [3]);
}
