//! Two streams, made one.

use ctx_runtime::generator;
use futures_util::{StreamExt, stream};

#[generator]
pub async fn count() -> u64 {
    yield_all!(stream::iter(0..2).chain(stream::iter(0..2)),);
}
