//! A generator for tests, and one that is named so.

use ctx_runtime::generator;

#[cfg(test)]
#[generator]
pub async fn numbers() -> u64 {
    yield_!(0);
}

#[generator]
pub async fn test() -> u64 {
    yield_!(0);
}
