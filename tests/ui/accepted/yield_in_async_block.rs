//! What the block returns.

use ctx_runtime::generator;

#[generator(blocking)]
pub fn count() -> u64 {
    yield_!(tokio::runtime::Handle::current().block_on(async { 0 }));
}
