//! A value with parentheses of its own.

use ctx_runtime::generator;

#[generator(buffer = (2 + 2) * 4)]
pub async fn count() -> u64 {
    yield_!(0);
}
