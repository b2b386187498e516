use ctx_runtime::generator;

#[generator]
async fn count(text: String) -> u64 {
    yield_!(text.parse()?);
}

#[tokio::main]
async fn main() {
    let mut numbers = count("0".to_owned());
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
