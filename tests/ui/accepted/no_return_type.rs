//! A generator that says when, and hands on nothing.

use ctx_runtime::generator;

#[generator]
pub async fn ticks() -> () {
    yield_!(());
}
