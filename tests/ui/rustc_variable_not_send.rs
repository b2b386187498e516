use ctx_runtime::generator;
use std::rc::Rc;

#[generator]
async fn count() -> u64 {
    let start = Rc::new(0);
    yield_!(*start);
    drop(start);
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
