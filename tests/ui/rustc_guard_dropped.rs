#![deny(unused_must_use)]

use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    defer!(0, async |n: u64| println!("{n}"));
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
