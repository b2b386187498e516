use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    yield_!(0);
    let _sum = defer!(1, async |sum: u64| yield_all!(futures_util::stream::iter(0..sum)));
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
