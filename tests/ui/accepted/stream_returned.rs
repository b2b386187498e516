//! A stream in a box is an item that can be named.

use ctx_runtime::generator;
use futures_util::Stream;

#[generator]
pub async fn pages() -> Box<dyn Stream<Item = u64> + Send> {
    yield_!(Box::new(futures_util::stream::iter([0, 1])));
}
