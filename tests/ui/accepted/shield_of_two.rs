//! Two futures, awaited together.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    let ((), ()) = shield!(async { tokio::join!(async {}, async {}) },);
    yield_!(0);
}
