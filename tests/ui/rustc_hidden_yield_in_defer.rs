use ctx_runtime::generator;

macro_rules! hand_on {
    ($item:expr) => {
        yield_!($item)
    };
}

#[generator]
async fn count() -> u64 {
    defer!(async { hand_on!(1) });
    yield_!(0);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
