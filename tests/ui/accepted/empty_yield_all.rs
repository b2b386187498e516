//! A stream of nothing.

use ctx_runtime::generator;

#[generator]
pub async fn nothing() -> u64 {
    yield_all!(futures_util::stream::empty());
}
