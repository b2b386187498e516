//! Std's attribute beside it, and an `inline` one of its own within the body.

use ctx_runtime::generator;

#[inline]
#[generator(blocking)]
pub fn count() -> u64 {
    #[generator(inline)]
    async fn numbers(limit: &u64) -> u64 {
        for n in 0..*limit {
            yield_!(n);
        }
    }
    let mut numbers = numbers(&3);
    while let Some(n) = tokio::runtime::Handle::current().block_on(numbers.next()) {
        yield_!(n);
    }
}
