//! No option at all, with parentheses and without.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    yield_!(0);
}

#[generator()]
pub async fn again() -> u64 {
    yield_!(0);
}
