use ctx_runtime::{LocalGenerator, generator};

#[generator(local)]
async fn letters(word: &str) -> char {
    for letter in word.chars() {
        yield_!(letter);
    }
}

#[tokio::main]
async fn main() {
    let mut letters: LocalGenerator<char> = letters("one");
    assert_eq!(letters.next().await, Some('o'));
}
