use ctx_runtime::{Context, generator};

#[generator(cancellable, buffer = 0, overflow = drop_oldest)]
async fn count(ctx: &Context) -> u64 {
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(&Context::background());
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
