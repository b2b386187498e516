use ctx_runtime::generator;

macro_rules! hand_on {
    ($item:expr) => {
        yield_!($item)
    };
}

#[generator(blocking)]
fn count() -> u64 {
    (0..3).for_each(|n| hand_on!(n));
    yield_!(3);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
