use ctx_runtime::generator;

#[generator]
async fn count(first: u64, _: ...) -> u64 {
    yield_!(first);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(0);
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
