//! A section of nothing.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    shield!(async {});
    yield_!(0);
}
