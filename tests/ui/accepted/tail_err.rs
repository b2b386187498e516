//! An error that is returned, and one that is yielded and does not end it.

#![allow(clippy::needless_return)] // that is what is shown

use ctx_runtime::generator;
use std::io;

#[generator]
pub async fn numbers() -> io::Result<u64> {
    yield_!(Err(io::Error::other("the first")));
    return Err(io::Error::other("the end"));
}
