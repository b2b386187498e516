//! What has no name, in a box.

use ctx_runtime::generator;
use std::fmt::Display;

#[generator]
pub async fn count() -> Box<dyn Display + Send> {
    yield_!(Box::new(0));
    yield_!(Box::new("one"));
}
