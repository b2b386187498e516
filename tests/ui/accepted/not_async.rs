//! `async` with everything that can stand beside it.

use ctx_runtime::generator;

/// # Safety
///
/// None is needed.
#[generator]
pub async unsafe fn count() -> u64 {
    yield_!(0);
}
