//! A pair, and a comma after it.

use ctx_runtime::generator;

#[generator]
pub async fn pairs() -> (u64, u64) {
    yield_!((0, 1));
    yield_!((2, 3),);
}
