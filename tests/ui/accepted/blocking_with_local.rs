//! What is not `Send`, but made in the body.

use ctx_runtime::generator;
use std::rc::Rc;

#[generator(blocking)]
pub fn count() -> u64 {
    let number = Rc::new(0);
    yield_!(*number);
    yield_!(*number + 1);
}
