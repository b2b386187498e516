//! An `extern` function is an argument like another.

use ctx_runtime::generator;

#[generator]
pub async fn count(next: extern "C" fn(u64) -> u64) -> u64 {
    yield_!(next(0));
}
