use ctx_runtime::generator;
use std::num::ParseIntError;

#[generator]
async fn count(text: String) -> Result<u64, ParseIntError> {
    let float: f64 = text.parse()?;
    yield_!(text.parse());
    drop(float);
}

#[tokio::main]
async fn main() {
    let mut numbers = count("0".to_owned());
    assert_eq!(numbers.next().await, Some(Ok(0)));
}
