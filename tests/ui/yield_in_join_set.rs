use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    let mut set = tokio::task::JoinSet::new();
    set.spawn(async move { yield_!(0) });
    set.join_all().await;
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
