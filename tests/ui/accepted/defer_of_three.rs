//! Several values under one guard.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    let mut both = defer!((1, 2), async |(first, second): (u64, u64)| println!("{first} {second}"),);
    both.0 = 3;
    yield_!(both.0 + both.1);
}
