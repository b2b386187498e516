//! A closure that makes the future, and async ones.

use ctx_runtime::generator;
use futures_util::{StreamExt, stream};

async fn save(n: u64) -> u64 {
    tokio::task::yield_now().await;
    n
}

#[generator]
pub async fn count() -> u64 {
    let saved = |n: u64| save(n);
    yield_!(shield!(saved(3)));
    stream::iter(1..3).for_each(|n| async move { println!("{}", shield!(save(n))) }).await;
}
