//! A `Vec` of the arguments, and a pattern for an array.

use ctx_runtime::generator;

#[generator]
pub async fn count(numbers: Vec<u64>, [first, last]: [u64; 2]) -> u64 {
    for n in numbers {
        yield_!(n);
    }
    yield_!(first);
    yield_!(last);
}
