//! A stream whose items a clean-up takes for itself.

use ctx_runtime::generator;
use futures_util::{StreamExt, stream};

#[generator]
pub async fn count() -> u64 {
    yield_all!(stream::iter(0..3));
    defer!(stream::iter(0..3).for_each(async |n| println!("{n}")));
}
