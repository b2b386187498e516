//! A buffer of one's own within the body, and one of a generator with a task.

use ctx_runtime::generator;

#[generator(inline)]
pub async fn letters(words: &[&str], buffer: usize) -> char {
    let mut letters = Vec::with_capacity(buffer);
    for word in words {
        letters.extend(word.chars());
        for letter in letters.drain(..) {
            yield_!(letter);
        }
    }
}

#[inline]
#[generator(buffer = 4)]
pub async fn numbers() -> u64 {
    yield_!(0);
}
