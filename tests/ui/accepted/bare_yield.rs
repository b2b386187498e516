//! The keyword as a raw name.

use ctx_runtime::generator;

#[generator]
pub async fn count(r#yield: u64) -> u64 {
    yield_!(r#yield);
}
