use ctx_runtime::generator;
use std::io;

#[generator]
async fn count(last: u64) -> io::Result<u64> {
    yield_!(Ok(0));
    return Ok(last);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(1);
    assert_eq!(numbers.next().await.unwrap().unwrap(), 0);
}
