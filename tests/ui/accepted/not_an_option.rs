//! The option whose name is a keyword.

use ctx_runtime::generator;

#[generator(crate = ctx_runtime)]
pub async fn count() -> u64 {
    yield_!(0);
}
