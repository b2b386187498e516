//! An alias that is a `Result` by its name; and one of another name, with what ends by `return`.

use ctx_runtime::generator;
use std::num::ParseIntError;

pub mod numbers {
    pub type Result<T> = std::result::Result<T, std::num::ParseIntError>;
}

pub type Parsed = Result<u64, ParseIntError>;

#[generator]
pub async fn by_name(text: String) -> numbers::Result<u64> {
    yield_!(Ok(text.parse()?));
}

#[generator]
pub async fn by_hand(text: String) -> Parsed {
    match text.parse() {
        Ok(n) => yield_!(Ok(n)),
        Err(error) => yield_!(Err(error)),
    }
}
