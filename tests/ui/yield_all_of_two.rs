use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    yield_all!(futures_util::stream::iter(0..2), futures_util::stream::iter(0..2));
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
