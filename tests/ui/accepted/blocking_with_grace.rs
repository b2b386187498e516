//! The other options.

use ctx_runtime::{Context, generator};

#[generator(buffer = 2, blocking, name = "numbers", cancellable)]
pub fn count(ctx: &Context, from: u64) -> u64 {
    yield_!(from);
}
