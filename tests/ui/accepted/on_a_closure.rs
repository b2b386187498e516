//! A closure that calls a generator.

use ctx_runtime::{Generator, generator};

#[generator]
async fn count(from: u64) -> u64 {
    yield_!(from);
}

pub fn both() -> [Generator<u64>; 2] {
    let count = |from| count(from);
    [count(0), count(1)]
}
