//! `inline`: the promises that a generator without a task keeps, and what it may borrow.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use ctx_runtime::{Context, Inline, generator};
use std::future::Future;

async fn all<T, F: Future<Output = ()>>(mut items: Inline<T, F>) -> Vec<T> {
    let mut taken = Vec::new();
    while let Some(item) = items.next().await {
        taken.push(item);
    }
    taken
}

mod borrows {
    use super::*;
    use std::fmt::Display;

    #[generator(inline)]
    async fn letters(word: &str) -> char {
        for letter in word.chars() {
            yield_!(letter);
        }
    }

    #[generator(inline)]
    async fn words(text: &str) -> &str {
        for word in text.split(' ') {
            yield_!(word);
        }
    }

    #[generator(cancellable, inline)]
    async fn words_below(ctx: &Context, text: &str) -> &str {
        for word in text.split(' ') {
            yield_!(word);
        }
    }

    #[generator(cancellable, inline)]
    async fn shown<T: Display>(
        ctx: &Context,
        values: &[T],
        other: Box<dyn Display + '_>,
        keep: impl Fn(&T) -> bool,
        sink: &mut Vec<usize>,
    ) -> String {
        for value in values {
            if keep(value) {
                sink.push(1);
                yield_!(value.to_string());
            }
        }
        yield_!(other.to_string());
    }

    struct Table<'t, T> {
        name: &'t str,
        rows: Vec<T>,
    }

    impl<'t, T: Clone> Table<'t, T> {
        #[generator(cancellable, inline)]
        async fn rows(&self, ctx: &Context, limit: usize) -> &T {
            for row in self.rows.iter().take(limit) {
                yield_!(row);
            }
        }

        #[generator(cancellable, inline)]
        async fn drained<'m>(&'m mut self, ctx: &Context, times: &mut usize) -> (&'t str, T) {
            while let Some(row) = self.rows.pop() {
                *times += 1;
                yield_!((self.name, row));
            }
        }

        #[generator(inline)]
        async fn popped(&mut self) -> T {
            while let Some(row) = self.rows.pop() {
                yield_!(row);
            }
        }

        #[generator(cancellable, inline)]
        async fn made(ctx: Context, row: T, times: usize) -> T {
            for _ in 0..times {
                yield_!(row.clone());
            }
        }
    }

    #[tokio::test]
    async fn try_it() {
        let text = "one two".to_owned();
        assert_eq!(all(letters(&text)).await.len(), 7);
        assert_eq!(all(words(&text)).await, ["one", "two"]);
        let below = words_below(&Context::background(), &text);
        assert_eq!(all(below).await, ["one", "two"]);
        let mut sink = Vec::new();
        let values = [1, 2, 3];
        let items = {
            let ctx = Context::background();
            shown(&ctx, &values, Box::new(&text), |n| *n > 1, &mut sink)
        };
        assert_eq!(all(items).await, ["2", "3", "one two"]);
        assert_eq!(sink, [1, 1]);

        let mut table = Table { name: &text, rows: vec![1, 2, 3] };
        let rows = table.rows(&Context::background(), 2);
        assert_eq!(all(rows).await, [&1, &2]);
        let mut times = 0;
        let drained = table.drained(&Context::background(), &mut times);
        assert_eq!(all(drained).await.len(), 3);
        assert_eq!(all(table.popped()).await, []);
        assert_eq!(times, 3);
        let made = Table::made(Context::background(), &times, 2);
        assert_eq!(all(made).await, [&3, &3]);
    }
}
