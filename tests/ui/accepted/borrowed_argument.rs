//! References that last, and those that only a call needs.

use ctx_runtime::generator;

#[generator]
pub async fn letters(
    word: &'static str,
    keep: impl Fn(&char) -> bool + Send + 'static,
    map: Box<dyn Fn(&str) -> &str + Send>,
    trim: fn(&str) -> &str,
) -> char {
    for letter in trim(map(word)).chars() {
        if keep(&letter) {
            yield_!(letter);
        }
    }
}
