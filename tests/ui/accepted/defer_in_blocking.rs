//! A destructor in its place.

use ctx_runtime::generator;

struct Bye;

impl Drop for Bye {
    fn drop(&mut self) {
        println!("bye");
    }
}

#[generator(blocking)]
pub fn count() -> u64 {
    let _bye = Bye;
    yield_!(0);
}
