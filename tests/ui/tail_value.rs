use ctx_runtime::generator;

#[generator]
async fn count(last: u64) -> u64 {
    yield_!(0);
    last + 1
}

#[tokio::main]
async fn main() {
    let mut numbers = count(1);
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
