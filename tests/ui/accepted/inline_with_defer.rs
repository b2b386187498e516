//! A destructor in its place; and what goes on by itself has its own.

use ctx_runtime::generator;

struct Bye;

impl Drop for Bye {
    fn drop(&mut self) {
        println!("bye");
    }
}

#[generator(inline)]
pub async fn letters(word: &str) -> char {
    #[generator]
    async fn defers() -> char {
        defer!(async {});
        yield_!('a');
    }
    let _bye = Bye;
    for letter in word.chars() {
        yield_!(letter);
    }
    yield_all!(defers());
}
