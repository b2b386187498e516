//! What is shared on its thread.

use ctx_runtime::generator;
use std::cell::Cell;
use std::rc::Rc;

#[generator(local)]
pub async fn letters(word: Rc<str>, from: Rc<Cell<usize>>) -> char {
    for letter in word.chars().skip(from.get()) {
        from.set(from.get() + 1);
        yield_!(letter);
    }
}
