use ctx_runtime::generator;
use std::sync::Mutex;

#[generator]
async fn count(numbers: Mutex<Vec<u64>>) -> u64 {
    let locked = numbers.lock().unwrap();
    tokio::task::yield_now().await;
    yield_!(locked[0]);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(Mutex::new(vec![0]));
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
