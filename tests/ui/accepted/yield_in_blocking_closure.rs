//! A closure that makes the item; loops, with labels of their own.

use ctx_runtime::generator;

#[generator(blocking)]
pub fn count() -> u64 {
    let double = |n: u64| 2 * n;
    'body: for n in (0..9).map(double) {
        for item in [n, n + 1] {
            match item {
                4 => continue 'body,
                8 => break 'body,
                item => yield_!(item),
            }
        }
    }
}
