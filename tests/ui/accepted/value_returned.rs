//! `return` alone, with `()`, with a call that returns nothing, and with a value where it is not the generator's.

#![allow(clippy::needless_return, clippy::unused_unit)] // that is what is shown

use ctx_runtime::generator;

#[generator]
pub async fn count(steps: u64) -> u64 {
    fn done() {}

    let double = |n: u64| {
        return n * 2;
    };
    for n in 0..steps {
        match n {
            3 => return,
            5 => return (),
            7 => return done(),
            _ => yield_!(double(n)),
        }
    }
    yield_!(async { return 9 }.await);
}
