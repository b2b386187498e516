use ctx_runtime::generator;
use std::rc::Rc;

#[generator]
async fn count(start: Rc<u64>) -> u64 {
    yield_!(*start);
}

#[tokio::main]
async fn main() {
    let mut numbers = count(Rc::new(0));
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
