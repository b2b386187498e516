//! No room where nothing can overflow; and a number that is no zero, whatever it looks like.

use ctx_runtime::generator;

const NOTHING: usize = 0;

#[generator(buffer = 0)]
pub async fn without() -> u64 {
    yield_!(0);
}

#[generator(buffer = 0x01_usize, overflow = drop_oldest)]
pub async fn one() -> u64 {
    yield_!(0);
}

#[generator(buffer = NOTHING + 1, overflow = drop_newest)]
pub async fn computed() -> u64 {
    yield_!(0);
}
