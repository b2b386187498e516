//! Signatures and bodies of every shape that one would write, in each kind of generator: the cells of the table in the README that
//! no other file has.

#![allow(
    clippy::all,
    clippy::pedantic,
    reason = "what people write comes in every style; what strict lints say of expansions, `clean` shows"
)]

use ctx_runtime::{Context, Generator, Inline, LocalGenerator, generator};
use futures_util::stream::{Stream, StreamExt};
use std::future::Future;
use std::io;
use std::num::ParseIntError;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::LocalSet;

async fn all<T>(items: impl Stream<Item = T>) -> Vec<T> {
    items.collect().await
}

/// Those of a generator that is to be made in a `LocalSet`.
async fn all_local<T: 'static>(make: impl FnOnce() -> LocalGenerator<T>) -> Vec<T> {
    LocalSet::new().run_until(async { all(make()).await }).await
}

mod methods {
    use super::*;

    trait Source: Sized + Send + Sync + 'static {
        type Row: Copy + Send + 'static;

        fn rows(self, ctx: Context) -> Generator<Self::Row>;
        fn local(self, ctx: &Context) -> LocalGenerator<Self::Row>;
        fn borrowed(&self, ctx: Context) -> Inline<&Self::Row, impl Future<Output = ()>>;
        fn blocking(self, ctx: &Context) -> Generator<Self::Row>;

        #[generator(cancellable)]
        async fn twice(self, ctx: &Context) -> Self::Row {
            let mut rows = self.rows(ctx.clone());
            while let Some(row) = rows.next().await {
                yield_!(row);
                yield_!(row);
            }
        }

        #[generator(cancellable, local)]
        async fn twice_local(self, ctx: Context) -> Rc<Self::Row> {
            let mut rows = self.local(&ctx);
            while let Some(row) = rows.next().await {
                let row = Rc::new(row);
                yield_!(Rc::clone(&row));
                yield_!(row);
            }
        }

        #[generator(inline)]
        async fn twice_borrowed(&self) -> &Self::Row {
            let mut rows = self.borrowed(Context::background());
            while let Some(row) = rows.next().await {
                yield_!(row);
                yield_!(row);
            }
        }

        #[generator(cancellable, blocking)]
        fn twice_blocking(self, ctx: &Context) -> Self::Row {
            let mut rows = self.blocking(ctx);
            while let Some(row) = rows.blocking_next() {
                yield_!(row);
                yield_!(row);
            }
        }
    }

    #[derive(Clone)]
    struct Table(Vec<u64>);

    impl Source for Table {
        type Row = u64;

        #[generator(cancellable)]
        async fn rows(self, ctx: Context) -> Self::Row {
            for row in self.0 {
                yield_!(row);
            }
        }

        #[generator(cancellable, local)]
        async fn local(self, ctx: &Context) -> u64 {
            for row in self.0 {
                yield_!(row);
            }
        }

        #[generator(cancellable, inline)]
        async fn borrowed(&self, ctx: Context) -> &u64 {
            for row in &self.0 {
                yield_!(row);
            }
        }

        #[generator(cancellable, blocking)]
        fn blocking(self, ctx: &Context) -> <Self as Source>::Row {
            for row in self.0 {
                yield_!(row);
            }
        }
    }

    #[tokio::test]
    async fn of_traits_declared_and_by_default() {
        let (ctx, table) = (Context::background(), Table(vec![1, 2]));
        assert_eq!(all(table.clone().rows(ctx.clone())).await, [1, 2]);
        assert_eq!(all(table.clone().twice(&ctx)).await, [1, 1, 2, 2]);
        assert_eq!(all_local(|| table.clone().local(&ctx)).await, [1, 2]);
        assert_eq!(all_local(|| table.clone().twice_local(ctx.clone())).await, [1, 1, 2, 2].map(Rc::new));
        assert_eq!(all(table.borrowed(ctx.clone())).await, [&1, &2]);
        assert_eq!(all(table.twice_borrowed()).await, [&1, &1, &2, &2]);
        assert_eq!(all(table.clone().blocking(&ctx)).await, [1, 2]);
        assert_eq!(all(table.twice_blocking(&ctx)).await, [1, 1, 2, 2]);
    }

    impl Table {
        #[generator(local)]
        async fn counted(self: Rc<Self>) -> usize {
            yield_!(Rc::strong_count(&self));
        }

        #[generator(local)]
        async fn longer(mut self) -> u64 {
            self.0.push(9);
            for row in self.0 {
                yield_!(row);
            }
        }

        #[generator(blocking)]
        fn shared(self: Arc<Self>) -> u64 {
            for row in &self.0 {
                yield_!(*row);
            }
        }

        #[generator(blocking)]
        fn checked(mut self) -> io::Result<u64> {
            self.0.push(9);
            while let Some(row) = self.0.pop() {
                yield_!(Ok(row));
            }
        }

        #[generator(inline)]
        async fn pinned(self: Pin<&mut Self>) -> &mut u64 {
            for row in &mut self.get_mut().0 {
                yield_!(row);
            }
        }

        #[generator(cancellable, inline)]
        async fn pinned_under(mut self: Pin<&mut Self>, ctx: &Context) -> usize {
            while !ctx.is_done() {
                self.0.push(0);
                yield_!(self.0.len());
            }
        }

        #[generator(cancellable, inline)]
        async fn owned(mut self, ctx: &Context) -> u64 {
            while let Some(row) = self.0.pop() {
                yield_!(row);
            }
        }

        #[generator(inline)]
        async fn by_reference(self: &Arc<Self>, skip: &u64) -> &u64 {
            for row in self.0.iter().filter(|row| *row != skip) {
                yield_!(row);
            }
        }
    }

    #[tokio::test]
    async fn own_or_borrow_themselves_in_every_way() {
        let (ctx, mut table) = (Context::background(), Table(vec![1, 2]));
        let counted = Rc::new(table.clone());
        assert_eq!(all_local(|| Rc::clone(&counted).counted()).await, [2]);
        assert_eq!(all_local(|| table.clone().longer()).await, [1, 2, 9]);
        assert_eq!(all(Arc::new(table.clone()).shared()).await, [1, 2]);
        let checked: io::Result<Vec<u64>> =
            table.clone().checked().collect::<Vec<_>>().await.into_iter().collect();
        assert_eq!(checked.unwrap(), [9, 2, 1]);
        assert_eq!(all(Pin::new(&mut table).pinned()).await, [&1, &2]);
        assert_eq!(Pin::new(&mut table).pinned_under(&ctx).next().await, Some(3));
        assert_eq!(all(Arc::new(table.clone()).by_reference(&2)).await, [&1, &0]);
        assert_eq!(all(table.owned(&ctx)).await, [0, 2, 1]);
    }
}

mod parameters {
    use super::*;

    struct Pair {
        left: u64,
        right: u64,
    }

    #[generator(cancellable, local)]
    async fn patterns_local(
        mut counted: Rc<u64>,
        #[ctx] _: &Context,
        (first, _): (u64, Rc<u64>),
        Pair { left, right: renamed }: Pair,
        [.., last]: [u64; 2],
        ref by_reference: u64,
        whole @ (part, _): (u64, u64),
        &(inner, _): &'static (u64, u64),
        r#type: u64,
    ) -> u64 {
        counted = Rc::new(*counted + 1);
        for n in [*counted, first, left, renamed, last, *by_reference, part, whole.1, inner, r#type] {
            yield_!(n);
        }
    }

    #[generator(cancellable, inline)]
    async fn patterns_inline(
        (first, _): (&str, &str),
        Pair { ref mut left, .. }: Pair,
        [head, .., tail]: &[u64; 3],
        whole @ (part, _): (&u64, u8),
        mut ctx: &Context,
        r#type: &mut u64,
    ) -> u64 {
        *left += first.len() as u64;
        *r#type += 1;
        let other = Context::background();
        if ctx.is_done() {
            ctx = &other;
        }
        assert!(!ctx.is_done());
        for n in [*left, *head, *tail, *part, u64::from(whole.1), *r#type] {
            yield_!(n);
        }
    }

    #[generator(blocking)]
    fn patterns_blocking(
        mut counted: u64,
        (first, _): (u64, String),
        Pair { left, right: renamed }: Pair,
        [.., last]: [u64; 2],
        ref by_reference: u64,
        whole @ (part, _): (u64, u64),
        _: String,
        r#type: u64,
    ) -> Result<u64, u64> {
        counted += 1;
        for n in [counted, first, left, renamed, last, *by_reference, part, whole.1, r#type] {
            yield_!(Ok(n));
        }
    }

    #[tokio::test]
    async fn patterns_in_each_kind() {
        let ctx = Context::background();
        let pair = || Pair { left: 3, right: 4 };
        assert_eq!(
            all_local(|| patterns_local(
                Rc::new(0),
                &ctx,
                (2, Rc::new(0)),
                pair(),
                [0, 5],
                6,
                (7, 8),
                &(9, 0),
                10
            ))
            .await,
            (1..=10).collect::<Vec<_>>()
        );
        let mut six = 6;
        assert_eq!(
            all(patterns_inline(("", "x"), pair(), &[4, 0, 5], (&6, 7), &ctx, &mut six)).await,
            [3, 4, 5, 6, 7, 7]
        );
        let blocking = patterns_blocking(0, (2, String::new()), pair(), [0, 5], 6, (7, 8), String::new(), 9);
        assert_eq!(all(blocking).await, (1..=9).map(Ok).collect::<Vec<_>>());
    }

    #[generator]
    async fn with_attributes(
        #[cfg(all())] here: u64,
        #[cfg(any())] missing: NoSuchType,
        #[allow(unused_variables)] unused: u64,
        #[expect(unused_variables)] expected: u64,
        #[expect(unused_variables)] (half, other): (u64, u64),
        #[expect(unused_mut)] mut unchanged: u64,
        #[cfg_attr(all(), expect(unused_variables))] by_condition: u64,
        #[cfg_attr(all(), cfg(any()))] missing_by_condition: NoSuchType,
    ) -> u64 {
        yield_!(here);
        yield_!(unchanged + other);
    }

    #[generator(cancellable, inline)]
    async fn with_attributes_inline(
        #[cfg(all())] here: &u64,
        #[cfg(any())] missing: &NoSuchType,
        #[expect(unused_variables)] ctx: &Context,
        #[expect(unused_variables)] expected: &u64,
    ) -> u64 {
        yield_!(*here);
    }

    #[generator(blocking)]
    fn with_attributes_blocking(
        #[cfg(all())] here: u64,
        #[cfg(any())] missing: NoSuchType,
        #[expect(unused_variables)] expected: u64,
    ) -> u64 {
        yield_!(here);
    }

    #[tokio::test]
    async fn attributes_on_arguments_in_each_kind() {
        assert_eq!(all(with_attributes(1, 0, 0, (0, 2), 3, 0)).await, [1, 5]);
        assert_eq!(all(with_attributes_inline(&1, &Context::background(), &0)).await, [1]);
        assert_eq!(all(with_attributes_blocking(1, 0)).await, [1]);
    }
}

/// Functions that `macro_rules!` make: what a `$fragment` brings comes in an invisible group.
mod made_by_macros {
    use super::*;

    macro_rules! all_fragments {
        ($(
            $(#[$meta:meta])* $vis:vis $name:ident<$life:lifetime, $param:ident>($pat:pat, $context:ident: $context_ty:ty, $arg:ident: $ty:ty)
                -> $item:ty = $value:expr, $stmt:stmt, $path:path, $literal:literal, $body:block
        )*) => {$(
            $(#[$meta])*
            #[generator(cancellable, buffer = $literal)]
            $vis async fn $name<$life: 'static, $param: Into<u64> + Send + 'static>(
                $pat: ($param, &$life str), $context: $context_ty, $arg: $ty,
            ) -> $item {
                $stmt;
                let from: u64 = $path(1_u8);
                yield_!(Ok(from));
                yield_!($value);
                $body
            }
        )*};
    }

    all_fragments! {
        /// Documented.
        #[must_use = "else nothing is counted"]
        #[allow(clippy::used_underscore_binding)]
        pub(super) counted<'a, N>((first, _text), ctx: &Context, last: Result<u64, ParseIntError>)
            -> Result<u64, ParseIntError> = Ok(first.into()), let more = ctx.clone(), u64::from, 2, {
                yield_!(last);
                if !more.is_done() {
                    return;
                }
            }
    }

    macro_rules! whole_body {
        ($(($($option:tt)*) ($($head:tt)*) $name:ident($self:ident) -> $item:ty $body:block)*) => {
            impl Table {$(
                #[generator($($option)*)]
                $($head)* fn $name($self) -> $item $body
            )*}
        };
    }

    struct Table(u64);

    whole_body! {
        () (async) spawned(self) -> u64 { yield_!(self.0) }
        (local) (async) local(self) -> Rc<u64> { yield_!(Rc::new(self.0)) }
        (inline) (async) inline(self) -> io::Result<u64> {
            if self.0 == 0 {
                return;
            }
            yield_!(Ok(self.0))
        }
        (blocking) () blocking(self) -> io::Result<u64> {
            if self.0 == 0 {
                return;
            }
            yield_!(Ok(self.0))
        }
    }

    macro_rules! one_inline {
        ($name:ident, $ty:ty, $item:ty, $value:expr) => {
            #[generator(cancellable, inline)]
            async fn $name(ctx: &Context, words: $ty) -> $item {
                yield_!($value(words));
            }
        };
    }

    one_inline!(borrowed, &[String], usize, |words: &[String]| words.len());

    #[tokio::test]
    async fn of_all_fragments() {
        let ctx = Context::background();
        assert_eq!(all(counted((2_u8, ""), &ctx, Ok(3))).await, [Ok(1), Ok(2), Ok(3)]);
        assert_eq!(all(Table(4).spawned()).await, [4]);
        assert_eq!(all_local(|| Table(4).local()).await, [Rc::new(4)]);
        assert_eq!(all(Table(4).inline()).await.remove(0).unwrap(), 4);
        assert_eq!(all(Table(4).blocking()).await.remove(0).unwrap(), 4);
        assert!(all(Table(0).inline()).await.is_empty() && all(Table(0).blocking()).await.is_empty());
        assert_eq!(all(borrowed(&ctx, &["one".to_owned()])).await, [1]);
    }

    macro_rules! doubled {
        ($name:ident, $value:expr, $either:expr) => {
            #[generator(buffer = $value * 2)]
            async fn $name() -> usize {
                yield_!($value * 2);
                let doubled = $value * 2;
                yield_!(doubled);
                yield_!(vec![$value * 2][0]);
                if let true = $either
                    && $value == 4
                {
                    return;
                }
                tokio::select! {
                    n = async { $value * 2 } => yield_!(n),
                }
            }
        };
    }

    doubled!(six, 1 + 2, true || false);

    /// Fails where `1 + 2` is not kept together: with `4`.
    #[tokio::test]
    async fn an_expression_stays_one_operand() {
        assert_eq!(all(six()).await, [6, 6, 6, 6]);
    }
}

/// The context, wherever it stands and whatever it is called.
mod contexts {
    use super::*;
    use ctx_runtime::Context as Ctx;

    #[generator(cancellable, local)]
    async fn marked(_first: u64, #[ctx] request: &Ctx, last: Rc<bool>) -> (bool, Rc<bool>) {
        yield_!((request.is_done(), last));
    }

    #[generator(cancellable)]
    async fn named(mut ctx: Ctx, other: bool) -> bool {
        yield_!(ctx.is_done());
        if other {
            ctx = Ctx::background();
        }
        yield_!(ctx.value::<u64>().is_some());
    }

    #[generator(cancellable, inline)]
    async fn unused(last: &u64, _ctx: &Context) -> u64 {
        yield_!(*last);
    }

    #[generator(cancellable)]
    async fn ignored(_: ctx_runtime::Context, ctx: u64) -> u64 {
        yield_!(ctx);
    }

    #[generator(cancellable, blocking)]
    fn middle(first: u64, mut under: &::ctx_runtime::Context, last: u64) -> (bool, u64) {
        let done = Context::background();
        yield_!((under.value::<u64>().is_some(), first));
        under = &done;
        yield_!((under.value::<u64>().is_some(), last));
    }

    /// One of another crate's is an argument like any other.
    mod tera {
        #[derive(Clone, Copy)]
        pub(super) struct Context(pub(super) u64);
    }

    #[generator(cancellable)]
    async fn beside_another(page: tera::Context, ctx: &Context) -> (u64, bool) {
        yield_!((page.0, ctx.is_done()));
    }

    #[tokio::test]
    async fn by_mark_by_type_and_by_name() {
        let ctx = Context::background().with_value(7_u64);
        let yes = Rc::new(true);
        assert_eq!(all_local(|| marked(0, &ctx, Rc::clone(&yes))).await, [(false, yes)]);
        assert_eq!(all(named(ctx.clone(), false)).await, [false, true]);
        assert_eq!(all(named(ctx.clone(), true)).await, [false, false]);
        assert_eq!(all(unused(&3, &ctx)).await, [3]);
        assert_eq!(all(ignored(ctx.clone(), 4)).await, [4]);
        assert_eq!(all(middle(1, &ctx, 2)).await, [(true, 1), (false, 2)]);
        assert_eq!(all(beside_another(tera::Context(5), &ctx)).await, [(5, false)]);
    }

    /// Fails for one whose context does not end it.
    #[tokio::test]
    async fn however_it_is_found_it_ends_the_generator() {
        let (ctx, stop) = Context::background().with_cancel();
        stop.cancel();
        assert!(all_local(|| marked(0, &ctx, Rc::new(true))).await.is_empty());
        assert!(all(named(ctx.clone(), false)).await.is_empty());
        assert!(all(unused(&3, &ctx)).await.is_empty());
        assert!(all(ignored(ctx.clone(), 4)).await.is_empty());
        assert!(all(middle(1, &ctx, 2)).await.is_empty());
        assert!(all(beside_another(tera::Context(5), &ctx)).await.is_empty());
    }
}

mod generics {
    use super::*;
    use std::fmt::{Debug, Display};

    trait Shape {
        type Out: Send + 'static;

        fn out(&self) -> Self::Out;
    }

    impl Shape for u64 {
        type Out = String;

        fn out(&self) -> String {
            self.to_string()
        }
    }

    #[generator(local)]
    async fn local<'a, T, F, const N: usize>(values: [T; N], show: F) -> &'a str
    where
        'a: 'static,
        T: 'static,
        for<'v> F: Fn(&'v T) -> &'a str + 'static,
    {
        for value in &values {
            yield_!(show(value));
        }
    }

    #[generator(cancellable, inline)]
    async fn inline<'t, T: ?Sized + Display, const N: usize>(
        ctx: &Context,
        values: [&'t T; N],
        keep: &dyn Fn(&str) -> bool,
        mut seen: impl for<'s> FnMut(&'s str),
    ) -> (&'t T, [u8; N])
    where
        T: Debug,
    {
        for value in values {
            let text = value.to_string();
            seen(&text);
            if keep(&text) {
                yield_!((value, [0; N]));
            }
        }
    }

    #[generator(blocking)]
    fn blocking<T: Shape + Send + 'static, const N: usize>(
        values: [T; N],
        keep: impl Fn(&str) -> bool + Send + 'static,
    ) -> <T as Shape>::Out
    where
        T::Out: AsRef<str>,
    {
        for value in values {
            let out = value.out();
            if keep(out.as_ref()) {
                yield_!(out);
            }
        }
    }

    #[generator]
    async fn spawned<T>(values: Vec<T>) -> [T::Out; 2]
    where
        T: Shape + Send + Sync + 'static,
    {
        for value in &values {
            yield_!([value.out(), value.out()]);
        }
    }

    #[tokio::test]
    async fn in_each_kind() {
        assert_eq!(
            all_local(|| local([Rc::new(1)], |one| if **one == 1 { "one" } else { "more" })).await,
            ["one"]
        );
        let mut seen = Vec::new();
        let shown = inline(&Context::background(), ["a", "b"], &|text| text == "b", |text| {
            seen.push(text.to_owned())
        });
        assert_eq!(all(shown).await, [("b", [0, 0])]);
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(all(blocking([7, 8], |text| text == "8")).await, ["8"]);
        assert_eq!(all(spawned(vec![9])).await, [["9", "9"]]);
    }
}

/// Other attributes and what else stands before `fn`.
mod heads {
    use super::*;

    #[generator]
    #[doc(hidden)]
    #[cfg(all())]
    #[inline]
    #[track_caller]
    #[must_use = "it does nothing by itself"]
    #[allow(unused_variables)]
    async fn many(unused: u64) -> &'static str {
        yield_!(std::panic::Location::caller().file());
    }

    #[doc = "It comes first, too."]
    #[expect(unused_variables)]
    #[deprecated = "there is `many`"]
    #[generator(inline)]
    async fn old(unused: &u64) -> u64 {
        yield_!(1);
    }

    #[generator(blocking)]
    #[cfg(any())]
    fn missing(argument: NoSuchType) -> NoSuchType {
        yield_!(argument);
    }

    #[generator]
    #[cfg(any())]
    async fn missing_too(argument: NoSuchType) -> NoSuchType {
        yield_!(argument);
    }

    #[allow(unsafe_code, reason = "what is `unsafe` stays so")]
    mod not_safe {
        use super::*;

        /// # Safety
        ///
        /// `one` is not null.
        #[generator]
        pub(super) async unsafe fn at(one: &'static u64) -> u64 {
            let one = std::ptr::from_ref(one);
            // SAFETY: as for the function.
            yield_!(unsafe { *one });
        }

        #[generator(inline)]
        pub(super) async unsafe fn in_place(one: &u64) -> u64 {
            let one = std::ptr::from_ref(one);
            unsafe {
                // SAFETY: from a reference.
                yield_!(*one);
            }
        }

        #[generator(blocking)]
        pub(super) unsafe fn on_a_thread(one: &'static u64) -> u64 {
            let one = std::ptr::from_ref(one);
            unsafe {
                // SAFETY: from a reference.
                yield_!(*one);
            }
        }
    }

    #[generator]
    async fn r#match(r#loop: u64) -> u64 {
        yield_!(r#loop);
    }

    #[generator(inline)]
    async fn r#while(r#loop: &u64) -> &u64 {
        yield_!(r#loop);
    }

    #[generator(blocking)]
    fn r#for(r#loop: u64) -> u64 {
        yield_!(r#loop);
    }

    /// Fails where they are lost: then nothing is deprecated, or missing arguments have no type.
    #[tokio::test]
    #[expect(deprecated)]
    #[allow(unsafe_code)]
    async fn are_kept() {
        assert_eq!(all(many(0)).await.len(), 1);
        assert_eq!(all(old(&0)).await, [1]);
        // SAFETY: of a reference.
        assert_eq!(all(unsafe { not_safe::at(&2) }).await, [2]);
        // SAFETY: as before.
        assert_eq!(all(unsafe { not_safe::in_place(&3) }).await, [3]);
        // SAFETY: as before.
        assert_eq!(all(unsafe { not_safe::on_a_thread(&4) }).await, [4]);
        assert_eq!(all(r#match(5)).await, [5]);
        assert_eq!(all(r#while(&6)).await, [&6]);
        assert_eq!(all(r#for(7)).await, [7]);
    }

    #[tokio::test]
    async fn of_functions_in_functions() {
        async fn counted(below: u64) -> u64 {
            #[generator(inline)]
            async fn numbers(below: &u64) -> u64 {
                #[generator(blocking)]
                fn twice(n: u64) -> u64 {
                    yield_!(n);
                    yield_!(n);
                }

                for n in 0..*below {
                    yield_all!(twice(n));
                }
            }

            all(numbers(&below)).await.into_iter().sum()
        }

        assert_eq!(counted(3).await, 6);
    }
}

/// Where the body's macros stand.
mod places {
    use super::*;
    use std::sync::Mutex;

    type Log = Arc<Mutex<Vec<u64>>>;

    /// Notes what it is given when it is run.
    async fn note(log: Log, what: u64) -> u64 {
        log.lock().unwrap().push(what);
        what
    }

    async fn clean_up(log: Log, what: u64) {
        note(log, what).await;
    }

    macro_rules! hand_on {
        ($log:expr, $($item:expr),*) => {{
            defer!(clean_up(Arc::clone($log), 100));
            let _guard = defer!(99, { let log = Arc::clone($log); move |what| clean_up(log, what) });
            $(yield_!(shield!(note(Arc::clone($log), $item)));)*
            yield_all!(futures_util::stream::iter([$($item),*]))
        }};
    }

    #[generator]
    async fn everywhere(log: Log) -> u64 {
        macro_rules! next {
            ($n:expr) => {
                shield!(note(Arc::clone(&log), $n))
            };
        }

        // Statements and initialisers.
        yield_!(0);
        let unit = yield_!(1);
        let one = shield!(note(Arc::clone(&log), 2));
        let (deferred, ()) = (defer!(clean_up(Arc::clone(&log), 50)), unit);
        // Arms, chains and conditions.
        match Some(one) {
            Some(2) if shield!(note(Arc::clone(&log), 3)) == 3 => yield_!(3),
            Some(n) => yield_!(n + 100),
            None => {
                defer!(clean_up(Arc::clone(&log), 404));
            }
        }
        if let 4 = next!(4)
            && let Some(five) = Some(next!(5))
            && five == 5
        {
            yield_!(five);
        } else {
            yield_all!(futures_util::stream::empty());
        }
        let mut left = 2;
        while let Some(n) = shield!(async { (left > 0).then_some(left) }) {
            left -= 1;
            yield_!(n + 4);
        }
        // Arguments of macros, of calls and of each other.
        assert!(next!(7) == 7, "{:?}", yield_!(404));
        println!("{:?}", yield_all!(futures_util::stream::iter([7])));
        let list = vec![next!(8), {
            yield_!(8);
            next!(9)
        }];
        let text = format!("{} {deferred:?}", list[1]);
        yield_!(u64::try_from(text.len()).map(|_| 9).unwrap_or(next!(0)));
        yield_!(shield!(note(Arc::clone(&log), shield!(note(Arc::clone(&log), 10)))));
        // Blocks.
        let eleven = {
            #[allow(unused_unsafe, unsafe_code)]
            // SAFETY: nothing in it needs any.
            let eleven = unsafe { next!(11) };
            'block: {
                yield_!(eleven);
                break 'block eleven;
            }
        };
        // Branches.
        let ((), twelve) = tokio::join!(async { yield_!(eleven + 1) }, async { next!(12) });
        tokio::select! {
            biased;
            n = async { shield!(note(Arc::clone(&log), twelve + 1)) } => yield_!(n),
            () = std::future::pending() => {}
        }
        tokio::select! {
            () = std::future::ready(()) => {
                yield_!(14);
                yield_all!(futures_util::stream::iter([15]));
            }
        }
        // Closures.
        let each = async |n: u64| {
            defer!(clean_up(Arc::clone(&log), 49));
            yield_!(n);
        };
        each(16).await;
        futures_util::stream::iter([17, 18]).for_each(|n| async move { yield_!(n) }).await;
        // Macros of the user.
        hand_on!(&log, 19, 20);
    }

    /// Fails for an item that is lost or out of order, and for a clean-up that does not run.
    #[tokio::test]
    async fn of_a_body_that_is_spawned() {
        let log = Log::default();
        let mut items = everywhere(Arc::clone(&log));
        let mut taken = Vec::new();
        while let Some(item) = items.next().await {
            taken.push(item);
        }
        items.stop().await;
        let expected = [0, 1, 3, 5, 6, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 19, 20];
        assert_eq!(taken, expected);
        let mut said = log.lock().unwrap().clone();
        assert_eq!(said[..13], [2, 3, 4, 5, 7, 8, 9, 0, 10, 10, 11, 12, 13]);
        said.drain(..13);
        said.sort_unstable();
        assert_eq!(said, [19, 20, 49, 50, 99, 100]);
    }

    #[generator(inline)]
    async fn in_place(words: &[u64]) -> &u64 {
        macro_rules! both {
            ($($item:expr),*) => {{ $(yield_!($item);)* yield_all!(futures_util::stream::iter([$($item),*])) }};
        }

        let unit = yield_!(&words[0]);
        let list = vec![yield_!(&words[1]), yield_all!(futures_util::stream::iter(&words[2..4]))];
        assert_eq!(list, [unit, ()], "{:?}", yield_!(&words[0]));
        match words {
            [first, ..] if *first == 0 => yield_!(first),
            _ => return,
        }
        if let [.., last] = words
            && let Some(_) = words.first()
        {
            yield_!(last);
        }
        tokio::join!(async { yield_!(&words[1]) }, std::future::ready(()));
        tokio::select! {
            biased;
            () = async { yield_!(&words[2]) } => yield_!(&words[3]),
            else => {}
        }
        let each = async |word| yield_!(word);
        each(&words[0]).await;
        both!(&words[1], &words[2]);
    }

    #[tokio::test]
    async fn of_a_body_that_is_inline() {
        assert_eq!(
            all(in_place(&[0, 1, 2, 3])).await,
            [&0, &1, &2, &3, &0, &3, &1, &2, &3, &0, &1, &2, &1, &2]
        );
    }

    fn note_unit((): ()) {}

    #[generator(blocking)]
    fn on_a_thread(words: Vec<u64>) -> u64 {
        macro_rules! both {
            ($($item:expr),*) => {{ $(yield_!($item);)* }};
        }

        let unit = yield_!(words[0]);
        let list = vec![yield_!(words[1]), { yield_!(words[2]) }];
        assert_eq!(list, [unit, ()], "{:?}", yield_!(404));
        println!("{:?}", yield_!(3));
        match &*words {
            [first, ..] if *first == 0 => yield_!(4),
            _ => return,
        }
        if let [.., last] = &*words
            && *last == 2
        {
            yield_!(5);
        }
        let mut left = words.into_iter();
        while let Some(word) = left.next() {
            #[allow(unused_unsafe, unsafe_code)]
            // SAFETY: nothing in it needs any.
            unsafe {
                yield_!(word + 6);
            }
        }
        note_unit(yield_!(9));
        both!(10, 11);
    }

    #[tokio::test]
    async fn of_a_body_that_is_blocking() {
        assert_eq!(all(on_a_thread(vec![0, 1, 2])).await, (0..=11).collect::<Vec<_>>());
    }

    #[generator(local)]
    async fn on_its_thread(log: Rc<Log>) -> Rc<u64> {
        let noted = shield!(note(Arc::clone(&log), 1));
        let mut guarded = defer!(Arc::clone(&log), async |log: Log| clean_up(log, 9).await);
        let other = Arc::clone(&guarded);
        *guarded = other;
        tokio::select! {
            () = async { yield_!(Rc::new(noted)) } => yield_!(Rc::new(2)),
        }
        tokio::join!(async { yield_!(Rc::new(3)) }, async {});
        yield_all!(futures_util::stream::iter([Rc::new(4)]));
        let each = async |n| yield_!(Rc::new(n));
        each(5).await;
    }

    #[tokio::test]
    async fn of_a_body_that_is_local() {
        let log = Rc::new(Log::default());
        let taken = all_local(|| on_its_thread(Rc::clone(&log))).await;
        assert_eq!(taken, [1, 2, 3, 4, 5].map(Rc::new));
        assert_eq!(log.lock().unwrap()[0], 1);
    }
}

/// How bodies end.
mod ends {
    use super::*;

    fn gone() -> ! {
        panic!("gone")
    }

    /// The same bodies in each kind.
    macro_rules! in_each_kind {
        ($($name:ident($argument:ident: $ty:ty) -> $item:ty $body:block)*) => {
            mod spawned {
                use super::*;
                $(#[generator] pub(super) async fn $name($argument: $ty) -> $item $body)*
            }
            mod local {
                use super::*;
                $(#[generator(local)] pub(super) async fn $name($argument: $ty) -> $item $body)*
            }
            mod inline {
                use super::*;
                $(#[generator(inline)] pub(super) async fn $name($argument: $ty) -> $item $body)*
            }
            mod blocking {
                use super::*;
                $(#[generator(blocking)] pub(super) fn $name($argument: $ty) -> $item $body)*
            }
            $(
                /// Those of each kind, which are to be the same.
                async fn $name($argument: $ty) -> Vec<$item> {
                    let items = all(spawned::$name($argument)).await;
                    assert_eq!(all_local(|| local::$name($argument)).await, items);
                    assert_eq!(all(inline::$name($argument)).await, items);
                    assert_eq!(all(blocking::$name($argument)).await, items);
                    items
                }
            )*
        };
    }

    in_each_kind! {
        in_a_macro(n: u64) -> u64 {
            yield_!(n)
        }
        in_an_if(n: u64) -> u64 {
            if n > 1 { yield_!(n) } else { yield_!(n + 10) }
        }
        in_an_if_without_else(n: u64) -> u64 {
            yield_!(n);
            if n > 1 {
                yield_!(n)
            }
        }
        in_a_match(n: u64) -> Result<u64, u64> {
            match n {
                0 => return,
                1 => return Err(n),
                2 => yield_!(Ok(n)),
                n => {
                    yield_!(Err(n));
                    yield_!(Ok(n))
                }
            }
        }
        in_a_loop(n: u64) -> Result<u64, u64> {
            let mut below = 0;
            loop {
                if below == n {
                    return;
                }
                yield_!(Ok(below));
                below += 1;
                let _ = Err(below).or_else(|below| if below == 3 { Err(below) } else { Ok(below) })?;
            }
        }
        in_a_loop_that_breaks(n: u64) -> u64 {
            loop {
                yield_!(n);
                break
            }
        }
        in_a_diverging_call(n: u64) -> u64 {
            yield_!(n);
            if n > 0 {
                return;
            }
            gone()
        }
        in_a_diverging_macro(n: u64) -> Result<u64, u64> {
            yield_!(Ok(n));
            if n > 0 {
                return;
            }
            unreachable!("{n}")
        }
        in_a_block(n: u64) -> u64 {
            {
                yield_!(n);
                yield_!(n)
            }
        }
        in_a_labelled_block(n: u64) -> u64 {
            'done: {
                if n == 0 {
                    break 'done;
                }
                yield_!(n);
            }
        }
        after_a_return(n: u64) -> u64 {
            if n == 0 {
                #[allow(unreachable_code)]
                {
                    return;
                    yield_!(n);
                }
            }
            yield_!(n);
            return
        }
        with_values_on_the_way(n: u64) -> u64 {
            let found = 'outer: loop {
                for m in 0.. {
                    if m * m > n {
                        break 'outer m;
                    }
                    if m % 2 == 1 {
                        continue;
                    }
                    yield_!(m);
                }
            };
            let Some(less) = found.checked_sub(2) else {
                yield_!(99);
                return;
            };
            let n = less;
            let n = n + 1;
            yield_!(n);
        }
        with_names_of_the_expansion(n: u64) -> Result<u64, u64> {
            let (ctx, co, result, body, error, item, arg0, this, span) = (n, n, n, n, n, n, n, n, n);
            struct Generator;
            let _ = Generator;
            yield_!(Ok(ctx + co + result + body + error + item + arg0 + this + span));
            'body: {
                if body > 0 {
                    break 'body;
                }
                yield_!(Err(error));
            }
        }
        with_items_of_its_own(n: u64) -> u64 {
            use std::ops::Add;
            const ONE: u64 = 1;
            static TWO: u64 = 2;
            #[derive(Clone, Copy)]
            struct Number(u64);
            impl Add for Number {
                type Output = Self;
                fn add(self, other: Self) -> Self {
                    if other.0 == 0 {
                        return self;
                    }
                    Self(self.0 + other.0)
                }
            }
            enum Way {
                Up,
            }
            type Plain = u64;
            fn last() -> Result<Plain, std::num::ParseIntError> {
                let four = "4".parse()?;
                return Ok(four);
            }
            let Way::Up = Way::Up;
            yield_!((Number(n).add(Number(ONE)) + Number(TWO)).0);
            yield_!(last().unwrap());
        }
    }

    #[tokio::test]
    async fn of_every_sort_in_each_kind() {
        assert_eq!(in_a_macro(1).await, [1]);
        assert_eq!((in_an_if(1).await, in_an_if(2).await), (vec![11], vec![2]));
        assert_eq!((in_an_if_without_else(1).await, in_an_if_without_else(2).await), (vec![1], vec![2, 2]));
        assert_eq!((in_a_match(0).await, in_a_match(1).await), (vec![], vec![Err(1)]));
        assert_eq!((in_a_match(2).await, in_a_match(3).await), (vec![Ok(2)], vec![Err(3), Ok(3)]));
        assert_eq!(
            (in_a_loop(1).await, in_a_loop(9).await),
            (vec![Ok(0)], vec![Ok(0), Ok(1), Ok(2), Err(3)])
        );
        assert_eq!(in_a_loop_that_breaks(1).await, [1]);
        assert_eq!(in_a_diverging_call(1).await, [1]);
        assert_eq!(in_a_diverging_macro(1).await, [Ok(1)]);
        assert_eq!(in_a_block(1).await, [1, 1]);
        assert_eq!((in_a_labelled_block(0).await, in_a_labelled_block(1).await), (vec![], vec![1]));
        assert_eq!((after_a_return(0).await, after_a_return(1).await), (vec![], vec![1]));
        assert_eq!(
            (with_values_on_the_way(0).await, with_values_on_the_way(10).await),
            (vec![0, 99], vec![0, 2, 3])
        );
        assert_eq!(with_names_of_the_expansion(1).await, [Ok(9)]);
        assert_eq!(with_names_of_the_expansion(0).await, [Ok(0), Err(0)]);
        assert_eq!(with_items_of_its_own(1).await, [4, 4]);
    }

    type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

    mod anyhow_like {
        pub(super) type Result<T> = std::result::Result<T, super::Fault>;
    }

    #[derive(Debug, PartialEq)]
    struct Fault(String);

    impl From<ParseIntError> for Fault {
        fn from(error: ParseIntError) -> Self {
            Self(error.to_string())
        }
    }

    fn sum(text: &str) -> AnyResult<u64> {
        Ok(text.split('+').map(str::parse::<u64>).sum::<Result<_, _>>()?)
    }

    #[generator(blocking)]
    fn converted(text: &'static str) -> anyhow_like::Result<u64> {
        yield_!(Ok(text.parse::<u64>()? + if text == "1" { 1 } else { text.parse()? }));
    }

    #[generator(inline)]
    async fn nested(texts: &[&str]) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        for text in texts {
            let parsed = [
                text.len() as u64,
                sum(text)?,
                Option::ok_or(text.strip_prefix("1"), "no one")?.len() as u64,
            ];
            yield_!(Ok(parsed[async { sum("1+1") }.await? as usize]));
            yield_!(Ok(std::convert::identity(match *text {
                "1" => sum("x"),
                text => sum(text),
            }?)));
        }
    }

    #[tokio::test]
    async fn errors_convert_wherever_the_question_mark_stands() {
        assert_eq!(all(converted("1")).await, [Ok(2)]);
        assert_eq!(all(converted("x")).await, [Err(Fault("invalid digit found in string".to_owned()))]);
        let shown = async |texts: &[&str]| -> Vec<String> {
            let items = all(nested(texts)).await.into_iter();
            items.map(|item| item.map_or_else(|error| error.to_string(), |n| n.to_string())).collect()
        };
        assert_eq!(shown(&["1+2", "3"]).await, ["2", "3", "no one"]);
        assert_eq!(shown(&["1"]).await, ["0", "invalid digit found in string"]);
    }
}

/// Lines that the body tells are the user's.
mod lines {
    use super::*;
    use std::panic::{self, AssertUnwindSafe, Location};
    use std::sync::Mutex;

    type Place = (u32, u32);

    #[track_caller]
    fn place() -> Place {
        (Location::caller().line(), Location::caller().column())
    }

    const SPAWNED: u32 = line!();
    #[generator]
    async fn spawned() -> Place {
        yield_!(place());
        yield_!((line!(), column!()));
        loop {
            if line!() > 0 {
                let place = place();
                yield_!(place);
                return;
            }
        }
    }

    const INLINE: u32 = line!();
    #[generator(inline)]
    async fn inline() -> Result<Place, ()> {
        yield_!(Ok(place()));
        yield_!(Ok((line!(), column!())));
    }

    const BLOCKING: u32 = line!();
    #[generator(blocking)]
    fn blocking() -> Result<Place, ()> {
        yield_!(Ok(place()));
        yield_!(Ok((line!(), column!())));
    }

    #[tokio::test]
    async fn of_places_in_each_kind() {
        assert_eq!(all(spawned()).await, [(SPAWNED + 3, 17), (SPAWNED + 4, 27), (SPAWNED + 7, 29)]);
        assert_eq!(all(inline()).await, [Ok((INLINE + 3, 20)), Ok((INLINE + 4, 30))]);
        assert_eq!(all(blocking()).await, [Ok((BLOCKING + 3, 20)), Ok((BLOCKING + 4, 30))]);
    }

    const PANICS: u32 = line!();
    #[generator]
    async fn panics(text: &'static str) -> Result<u64, ()> {
        yield_!(Ok(text.parse().unwrap()));
    }

    #[generator(blocking)]
    fn panics_on_a_thread(text: &'static str) -> Result<u64, ()> {
        let number = text.parse().expect(text);
        yield_!(Ok(number));
    }

    #[generator(inline)]
    async fn panics_in_place(at: usize) -> Result<u64, ()> {
        yield_!(Ok([1, 2][at]));
    }

    #[tokio::test]
    async fn of_panics_in_each_kind() {
        static PLACES: Mutex<Vec<Place>> = Mutex::new(Vec::new());
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().filter(|place| (PANICS..PANICS + 20).contains(&place.line()));
            PLACES.lock().unwrap().extend(place.map(|place| (place.line(), place.column())));
            report(info);
        }));
        let ends = async |items: Pin<Box<dyn Stream<Item = Result<u64, ()>>>>| {
            use futures_util::FutureExt;
            assert!(AssertUnwindSafe(all(items)).catch_unwind().await.is_err());
        };
        ends(Box::pin(panics("x"))).await;
        ends(Box::pin(panics_on_a_thread("x"))).await;
        ends(Box::pin(panics_in_place(2))).await;
        assert_eq!(*PLACES.lock().unwrap(), [(PANICS + 3, 33), (PANICS + 8, 35), (PANICS + 14, 20)]);
    }
}

/// Items of all sorts.
mod items {
    use super::*;
    use std::convert::Infallible;

    #[generator]
    async fn unit() -> () {
        yield_!(());
        yield_!({});
    }

    #[generator(blocking)]
    fn never(none: Option<Infallible>) -> Infallible {
        if let Some(never) = none {
            yield_!(never);
        }
    }

    #[generator(local)]
    async fn functions(by: u64) -> Box<dyn Fn(u64) -> u64> {
        yield_!(Box::new(move |n| n + by));
        yield_!(Box::new(move |n| n * by));
    }

    #[generator(inline)]
    async fn borrowing(words: &[String]) -> Option<(&str, Box<dyn Fn(&str) -> bool + '_>)> {
        for word in words {
            yield_!(Some((word.as_str(), Box::new(move |other| word == other))));
        }
        yield_!(None);
    }

    #[generator]
    async fn nested(text: &'static str) -> Result<Result<u64, ParseIntError>, &'static str> {
        yield_!(Ok(text.parse()));
        yield_!(Ok(Ok(text.parse().map_err(|_| "not a number")?)));
    }

    #[generator(blocking)]
    fn nested_blocking(text: &'static str) -> io::Result<Option<[u8; 2]>> {
        yield_!(Ok(None));
        let bytes = text.as_bytes().try_into().map_err(io::Error::other)?;
        yield_!(Ok(Some(bytes)));
    }

    struct Pairs<I>(I);

    impl<I: Iterator + Send + 'static> Pairs<I>
    where
        I::Item: Send + 'static,
    {
        #[generator]
        async fn spawned(mut self) -> (I::Item, Option<<I as Iterator>::Item>) {
            while let Some(first) = self.0.next() {
                yield_!((first, self.0.next()));
            }
        }

        #[generator(inline)]
        async fn inline(&mut self) -> <I as Iterator>::Item {
            while let Some(item) = self.0.next() {
                yield_!(item);
            }
        }
    }

    #[tokio::test]
    async fn of_all_sorts() {
        assert_eq!(all(unit()).await.len(), 2);
        assert!(all(never(None)).await.is_empty());
        let functions = all_local(|| functions(3)).await;
        assert_eq!(functions.iter().map(|function| function(4)).collect::<Vec<_>>(), [7, 12]);
        let words = ["one".to_owned()];
        let borrowing = all(borrowing(&words)).await;
        assert!(matches!(&*borrowing, [Some(("one", is)), None] if is("one") && !is("two")));
        assert_eq!(all(nested("1")).await, [Ok(Ok(1)), Ok(Ok(1))]);
        assert!(matches!(&*all(nested("x")).await, [Ok(Err(_)), Err("not a number")]));
        assert!(matches!(&*all(nested_blocking("ab")).await, [Ok(None), Ok(Some([b'a', b'b']))]));
        assert!(matches!(&*all(nested_blocking("abc")).await, [Ok(None), Err(_)]));
        assert_eq!(all(Pairs([1, 2, 3].into_iter()).spawned()).await, [(1, Some(2)), (3, None)]);
        assert_eq!(all(Pairs(0..2).inline()).await, [0, 1]);
    }
}

/// Generators that call themselves, without a box.
mod recursion {
    use super::*;

    struct Tree(u64, Vec<Tree>);

    impl Tree {
        #[generator(inline)]
        async fn walk(&self) -> &u64 {
            yield_!(&self.0);
            for branch in &self.1 {
                yield_all!(branch.walk());
            }
        }

        #[generator(cancellable, blocking)]
        fn walked(self, ctx: &Context) -> Result<u64, u64> {
            yield_!(Ok(self.0));
            for branch in self.1 {
                let mut below = branch.walked(ctx);
                while let Some(n) = below.blocking_next() {
                    yield_!(Ok(n?));
                }
            }
            if self.0 == 2 {
                return Err(2);
            }
        }
    }

    #[generator(inline)]
    async fn countdown(from: u64) -> Result<u64, String> {
        if from > 2 {
            return Err(format!("{from} is too much"));
        }
        yield_!(Ok(from));
        if let Some(less) = from.checked_sub(1) {
            let mut below = countdown(less);
            while let Some(n) = below.next().await {
                yield_!(Ok(n?));
            }
        }
    }

    #[tokio::test]
    async fn inline_and_blocking() {
        let tree = Tree(0, vec![Tree(1, vec![Tree(2, vec![])]), Tree(3, vec![])]);
        assert_eq!(all(tree.walk()).await, [&0, &1, &2, &3]);
        assert_eq!(all(tree.walked(&Context::background())).await, [Ok(0), Ok(1), Ok(2), Err(2)]);
        assert_eq!(all(countdown(2)).await, [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(all(countdown(3)).await, [Err("3 is too much".to_owned())]);
    }
}
