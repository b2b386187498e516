//! One after another, and one within what makes another.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    defer!(tokio::task::yield_now());
    defer!({
        defer!(async {});
        async {}
    });
    yield_!(0);
}
