#![deny(unused_variables)]

use ctx_runtime::{Context, generator};

#[generator(cancellable)]
async fn count(ctx: &Context, start: u64) -> u64 {
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(&Context::background(), 0);
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
