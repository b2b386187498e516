//! A name that is no option.

use ctx_runtime::generator;

#[generator(name = "blokcing", local)]
pub async fn blocking(inline: u64) -> u64 {
    yield_!(inline);
}
