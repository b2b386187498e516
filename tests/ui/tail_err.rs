use ctx_runtime::generator;
use std::io;

#[generator]
async fn count() -> io::Result<u64> {
    yield_!(Ok(0));
    Err(io::Error::other("the end"))
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    assert_eq!(numbers.next().await.unwrap().unwrap(), 0);
}
