use ctx_runtime::{Context, generator};

#[generator(cancellable)]
async fn words(ctx: &Context) -> &str {
    yield_!("one");
}

#[tokio::main]
async fn main() {
    let mut words = words(&Context::background());
    assert_eq!(words.next().await, Some("one"));
}
