use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    yield_!(0);
    shield!(tokio::task::yield_now(), tokio::task::yield_now());
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
