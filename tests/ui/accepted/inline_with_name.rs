//! An argument that is called so.

use ctx_runtime::generator;

#[generator(inline)]
pub async fn letters(name: &str) -> char {
    for letter in name.chars() {
        yield_!(letter);
    }
}
