//! A block of its own may end with `Ok(())`.

use ctx_runtime::generator;
use std::num::ParseIntError;

#[generator]
pub async fn numbers(text: String) -> Result<u64, ParseIntError> {
    let checked: Result<(), ParseIntError> = async {
        yield_!(Ok(text.parse()?));
        Ok(())
    }
    .await;
    checked?;
}
