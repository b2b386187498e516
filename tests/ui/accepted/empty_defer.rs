//! A clean-up of nothing.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    defer!(async {},);
    yield_!(0);
}
