//! Errors that convert, and one that coerces.

use ctx_runtime::generator;
use std::error::Error;
use std::io;

#[generator]
pub async fn count(text: String) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let float: f64 = text.parse()?;
    let whole: u32 = text.parse()?;
    if whole > 9 {
        return Err(Box::new(io::Error::other("large")));
    }
    if whole > 8 {
        Err("not that large")?;
    }
    yield_!(Ok(float));
}
