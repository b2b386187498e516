use ctx_runtime::generator;

fn last() -> u64 {
    1
}

#[generator]
async fn count() -> u64 {
    yield_!(0);
    last()
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
