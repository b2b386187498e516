//! A time of one's own within the body, and the grace of one with a task.

use ctx_runtime::generator;
use std::time::Duration;

#[generator(inline)]
pub async fn count(grace: Duration) -> u64 {
    #[generator(grace = grace)]
    async fn inner(grace: Duration) -> u64 {
        yield_!(0);
    }
    yield_all!(inner(grace));
}
