use ctx_runtime::generator;

#[generator(blocking)]
fn count() -> u64 {
    let n: u64 = "7".parse()?;
    yield_!(n);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
