use ctx_runtime::{Context, generator};

#[generator(blocking, local, grace = 5)]
fn count(ctx: &Context, from: &u64) -> u64 {
    defer!(async { println!("bye") });
    (0..3).for_each(|n| yield_!(n));
    yield_all!(tokio::task::yield_now().await);
    yield_!();
    yield_!(*from, 1);
    return 7;
}

#[tokio::main]
async fn main() {
    let mut numbers = count(&Context::background(), &0);
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
