use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    let later = async move { yield_!(0) };
    tokio::spawn(later);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
