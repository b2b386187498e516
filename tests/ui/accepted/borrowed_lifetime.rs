//! Lifetimes that last, and those that a `for` brings.

use ctx_runtime::generator;
use std::borrow::Cow;

#[generator]
pub async fn letters<'a: 'static, 'b>(
    word: Cow<'static, str>,
    other: Cow<'a, str>,
    last: Cow<'b, str>,
    keep: impl for<'c> Fn(&'c char) -> bool + Send + 'static,
) -> char
where
    'b: 'static,
{
    for letter in word.chars().chain(other.chars()).chain(last.chars()) {
        if keep(&letter) {
            yield_!(letter);
        }
    }
}
