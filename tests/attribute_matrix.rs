//! Signatures and bodies of every shape that one would write, in each kind of generator: the cells of the table in the README that
//! no other file has.

use ctx_runtime::{Context, Generator, Inline, LocalGenerator, generator};
use futures_util::stream::{Stream, StreamExt};
use std::future::Future;
use std::io;
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
