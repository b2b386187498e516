use ctx_runtime::generator;
use std::num::ParseIntError;

type Parsed = Result<u64, ParseIntError>;

#[generator]
async fn count(text: String) -> Parsed {
    let n = text.parse()?;
    yield_!(Ok(n));
}

#[tokio::main]
async fn main() {
    let mut numbers = count("0".to_owned());
    let first: Option<Parsed> = numbers.next().await;
    assert_eq!(first, Some(Ok(0)));
}
