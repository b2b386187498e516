//! A variable of that name.

use ctx_runtime::generator;

#[generator(inline)]
pub async fn letters(word: &str) -> char {
    let (shield, defer) = ('a', 'b');
    for letter in word.chars().filter(|letter| *letter != shield && *letter != defer) {
        tokio::task::yield_now().await;
        yield_!(letter);
    }
}
