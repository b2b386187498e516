//! Beside other attributes.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    #[allow(clippy::reversed_empty_ranges)]
    #[no_checkpoint]
    for n in 3..0 {
        yield_!(n);
    }
}
