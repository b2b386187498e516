//! A buffer without a policy, and before or after one.

use ctx_runtime::generator;

#[generator(buffer = 1)]
pub async fn waits() -> u64 {
    yield_!(0);
}

#[generator(overflow = drop_oldest, buffer = 1)]
pub async fn after() -> u64 {
    yield_!(0);
}

#[generator(buffer = items, overflow = drop_newest)]
pub async fn as_told(items: usize) -> usize {
    yield_!(items);
}
