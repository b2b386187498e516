//! The empty tuple is an item.

use ctx_runtime::generator;

#[generator]
pub async fn ticks() -> () {
    yield_!(());
    yield_![()];
}
