use ctx_runtime::generator;
use std::rc::Rc;

#[generator]
async fn count() -> Rc<u64> {
    yield_!(Rc::new(0));
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    assert_eq!(numbers.next().await, Some(Rc::new(0)));
}
