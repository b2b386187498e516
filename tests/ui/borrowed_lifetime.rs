use ctx_runtime::generator;
use std::borrow::Cow;

#[generator]
async fn letters<'a>(word: Cow<'a, str>) -> char {
    for letter in word.chars() {
        yield_!(letter);
    }
}

#[tokio::main]
async fn main() {
    let mut letters = letters(Cow::Borrowed("one"));
    assert_eq!(letters.next().await, Some('o'));
}
