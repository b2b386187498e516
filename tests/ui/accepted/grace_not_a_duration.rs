//! Durations that are no literals.

use ctx_runtime::generator;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[generator(grace = 5 * SECOND)]
pub async fn count() -> u64 {
    yield_!(0);
}

#[generator(grace = limit, buffer = 1)]
pub async fn as_told(limit: Duration) -> u64 {
    yield_!(0);
}

#[generator(grace = Duration::from_millis(5), name = "tenth")]
pub async fn block() -> u64 {
    yield_!(0);
}
