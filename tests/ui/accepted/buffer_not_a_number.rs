//! Numbers that are no literals.

use ctx_runtime::generator;

const ITEMS: usize = 4;

#[generator(buffer = 2 * ITEMS)]
pub async fn count() -> u64 {
    yield_!(0);
}

#[generator(buffer = items)]
pub async fn as_told(items: usize) -> usize {
    yield_!(items);
}

#[generator(buffer = 0x10_usize)]
pub async fn suffixed() -> u64 {
    yield_!(0);
}
