//! Attributes of other makes, before and after.

use ctx_runtime::generator;

#[inline]
#[generator]
#[cfg(not(windows))]
#[must_use = "it does nothing else"]
pub async fn count() -> u64 {
    yield_!(0);
}
