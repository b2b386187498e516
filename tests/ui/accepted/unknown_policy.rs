//! Both policies, each also where its name is something else's.

use ctx_runtime::generator;

#[generator(buffer = 1, overflow = drop_oldest)]
pub async fn latest(drop_oldest: u64) -> u64 {
    yield_!(drop_oldest);
}

#[generator(buffer = 1, overflow = drop_newest)]
pub async fn first(drop_newest: u64) -> u64 {
    yield_!(drop_newest);
}
