//! A `const` parameter is not a `const fn`.

use ctx_runtime::generator;

#[generator]
pub async fn count<const N: u64>() -> u64 {
    for n in 0..N {
        yield_!(n);
    }
}
