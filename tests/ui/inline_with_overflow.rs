use ctx_runtime::generator;

#[generator(inline, overflow = drop_oldest)]
async fn letters(word: &str) -> char {
    for letter in word.chars() {
        yield_!(letter);
    }
}

#[tokio::main]
async fn main() {
    let mut letters = letters("one");
    assert_eq!(letters.next().await, Some('o'));
}
