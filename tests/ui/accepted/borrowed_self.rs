//! `self` by value, and the wrapper that the message shows.

use ctx_runtime::{Context, Generator, generator};

#[derive(Clone)]
pub struct Table(Vec<u64>);

impl Table {
    pub fn rows(&self, ctx: &Context) -> Generator<u64> {
        self.clone().rows_owned(ctx)
    }

    #[generator(cancellable)]
    async fn rows_owned(self, ctx: &Context) -> u64 {
        for row in self.0 {
            yield_!(row);
        }
    }

    #[generator]
    pub async fn emptied(mut self) -> u64 {
        while let Some(row) = self.0.pop() {
            yield_!(row);
        }
    }
}
