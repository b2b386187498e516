//! Strings that are no literals.

use ctx_runtime::generator;

const NAME: &str = "numbers";

#[generator(name = NAME)]
pub async fn count() -> u64 {
    yield_!(0);
}

#[generator(name = format!("from {start}"))]
pub async fn from(start: u64) -> u64 {
    yield_!(start);
}
