//! A trait that declares what callers see, and an implementation that generates it.

use ctx_runtime::{Context, Generator, generator};

pub trait Table {
    fn rows(self, ctx: Context) -> Generator<u64>;
}

impl Table for Vec<u64> {
    #[generator(cancellable)]
    async fn rows(self, ctx: Context) -> u64 {
        for row in self {
            yield_!(row);
        }
    }
}

pub trait Numbers: Sized + Send + 'static {
    #[generator]
    async fn numbers(self) -> u64 {
        yield_!(0);
        drop(self);
    }
}
