use ctx_runtime::generator;

#[generator]
async fn count() {
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    assert!(numbers.next().await.is_some());
}
