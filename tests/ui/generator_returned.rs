use ctx_runtime::{Generator, generator};

#[generator]
async fn count() -> Generator<u64> {
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers: Generator<u64> = count();
    assert_eq!(numbers.next().await, Some(0));
}
