//! The option alone, before and after another, and std's attribute beside it.

use ctx_runtime::{Context, generator};

#[generator(inline, cancellable)]
pub async fn first(ctx: &Context, word: &str) -> char {
    for letter in word.chars() {
        yield_!(letter);
    }
}

#[inline]
#[generator(cancellable, inline)]
pub async fn second<'a>(ctx: &Context, word: &'a str, other: &str) -> &'a str {
    if word != other {
        yield_!(word);
    }
}
