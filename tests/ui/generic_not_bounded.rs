use ctx_runtime::generator;

#[generator]
async fn once<T>(value: T) -> T {
    yield_!(value);
}

#[tokio::main]
async fn main() {
    let mut numbers = once(0);
    assert_eq!(numbers.next().await, Some(0));
}
