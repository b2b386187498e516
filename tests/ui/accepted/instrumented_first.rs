//! Below: the body runs in its span.

use ctx_runtime::generator;

#[generator]
#[tracing::instrument]
pub async fn count() -> u64 {
    yield_!(0);
}
