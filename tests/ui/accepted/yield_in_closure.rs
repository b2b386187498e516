//! Async blocks and async closures, which the body awaits; also those that a closure makes.

use ctx_runtime::generator;
use futures_util::{StreamExt, stream};

#[generator]
pub async fn count() -> u64 {
    let both = async |n: u64| {
        yield_!(n);
        yield_!(n);
    };
    both(0).await;
    stream::iter(1..3).for_each(|n| async move { yield_!(n) }).await;
    (async { yield_!(3) }).await;
}
