//! The ends of a generator of `Result`s.

use ctx_runtime::generator;
use std::num::ParseIntError;

#[generator]
pub async fn numbers(texts: Vec<String>) -> Result<u64, ParseIntError> {
    for text in texts {
        match &*text {
            "end" => return,
            "stop" => return Ok(()),
            "call" => return last(&text),
            _ => {}
        }
        let n = match text.parse() {
            Ok(n) => n,
            Err(error) => return Err(error),
        };
        yield_!(Ok(n));
    }
}

fn last(text: &str) -> Result<(), ParseIntError> {
    text.parse::<u64>().map(drop)
}
