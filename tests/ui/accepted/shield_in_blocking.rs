//! What runs to its end as it is.

use ctx_runtime::generator;

#[generator(blocking)]
pub fn count() -> u64 {
    yield_!(0);
    std::thread::yield_now();
}
