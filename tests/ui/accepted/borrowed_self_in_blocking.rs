//! A method that is called from a wrapper that clones, as the message says.

use ctx_runtime::{Context, Generator, generator};

#[derive(Clone)]
pub struct Table(Vec<u64>);

impl Table {
    pub fn rows(&self, ctx: &Context) -> Generator<u64> {
        self.clone().rows_owned(ctx)
    }

    #[generator(cancellable, blocking, name = "rows")]
    fn rows_owned(self, ctx: &Context) -> u64 {
        for row in &self.0 {
            yield_!(*row);
        }
    }
}
