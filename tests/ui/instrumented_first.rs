use ctx_runtime::generator;

#[tracing::instrument]
#[generator]
async fn count() -> u64 {
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
