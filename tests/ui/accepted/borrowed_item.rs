//! An item that borrows for ever, and one that takes what it borrows from its caller.

use ctx_runtime::generator;

#[generator]
pub async fn words() -> &'static str {
    yield_!("one");
}

#[generator]
pub async fn predicates() -> fn(&str) -> &str {
    yield_!(str::trim);
}
