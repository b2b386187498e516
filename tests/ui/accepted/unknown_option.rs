//! Every option that there is.

use ctx_runtime::{Context, generator};

#[generator(cancellable, buffer = 4, overflow = drop_oldest, name = "numbers", crate = ctx_runtime)]
pub async fn count(ctx: &Context) -> u64 {
    yield_!(0);
}
