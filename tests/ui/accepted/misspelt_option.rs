//! Options in any order.

use ctx_runtime::{Context, generator};

#[generator(buffer = 1, cancellable)]
pub async fn count(ctx: &Context) -> u64 {
    yield_!(0);
}
