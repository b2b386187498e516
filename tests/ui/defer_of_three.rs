use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    let _sum = defer!(1, 2, async |sum: u64| println!("{sum}"));
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
