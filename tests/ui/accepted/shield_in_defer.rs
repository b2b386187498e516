//! A section that makes what a clean-up will need.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    defer!({
        let number = shield!(std::future::ready(3));
        async move { println!("{number}") }
    });
    shield!(async { defer!(tokio::task::yield_now()) });
    yield_!(0);
}
