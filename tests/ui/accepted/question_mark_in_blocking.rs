//! `?` in a closure of a body that blocks.

use ctx_runtime::generator;

#[generator(blocking)]
pub fn count() -> u64 {
    let parse = |text: &str| -> Option<u64> { text.strip_prefix('n')?.parse().ok() };
    if let Some(n) = parse("n1") {
        yield_!(n);
    }
}
