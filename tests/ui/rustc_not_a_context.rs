use ctx_runtime::generator;

#[generator(cancellable)]
async fn count(ctx: &str) -> u64 {
    yield_!(0);
    drop(ctx);
}

#[tokio::main]
async fn main() {
    let mut numbers = count("now");
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
