//! Loops that do the same.

use ctx_runtime::generator;

#[generator(blocking)]
pub fn count() -> u64 {
    for n in 0..3 {
        yield_!(n);
    }
}

#[generator(blocking)]
pub fn again() -> u64 {
    let mut numbers = count();
    while let Some(n) = numbers.blocking_next() {
        yield_!(n);
    }
}
