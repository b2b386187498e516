//! A nested generator, and a nested function that has a `yield_!` of its own.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    #[ctx_runtime::generator]
    async fn inner() -> u64 {
        yield_!(0);
    }
    fn double(n: u64) -> u64 {
        n * 2
    }
    let mut inner = inner();
    while let Some(n) = inner.next().await {
        yield_!(double(n));
    }
}
