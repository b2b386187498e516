use ctx_runtime::generator;

#[generator(cancellable)]
async fn count(start: u64) -> u64 {
    yield_!(start);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(0);
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
