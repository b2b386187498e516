//! `cancellable` alone.

use ctx_runtime::{Context, generator};

#[generator(cancellable)]
pub async fn count(ctx: &Context) -> u64 {
    yield_!(0);
}
