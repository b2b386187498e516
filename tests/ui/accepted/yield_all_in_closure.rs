//! A closure that makes the stream, and an async one that hands it on.

use ctx_runtime::generator;
use futures_util::stream;

#[generator]
pub async fn count() -> u64 {
    let below = |n: u64| stream::iter(0..n);
    yield_all!(below(3));
    let twice = async |n: u64| {
        yield_all!(below(n));
        yield_all!(below(n),);
    };
    twice(2).await;
}
