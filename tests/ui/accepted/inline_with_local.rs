//! Nothing of it need be `Send`; and in a `local` one it can be handed on.

use ctx_runtime::generator;
use std::rc::Rc;

#[generator(inline)]
pub async fn count(numbers: Rc<[u64]>) -> Rc<u64> {
    for number in &*numbers {
        yield_!(Rc::new(*number));
    }
}

#[generator(local)]
pub async fn again(numbers: Rc<[u64]>) -> Rc<u64> {
    yield_all!(count(Rc::clone(&numbers)));
    let held = Rc::clone(&numbers);
    tokio::task::yield_now().await;
    yield_!(Rc::new(held[0]));
}
