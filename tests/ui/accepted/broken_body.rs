//! A body with all the syntax that one may not think of.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> usize {
    #![allow(clippy::never_loop, clippy::items_after_statements)]
    'outer: loop {
        let Some(n) = std::env::args().len().checked_sub(1) else { return };
        yield_!(n);
        loop {
            break 'outer;
        }
    }
    const LAST: usize = 9;
    let value = 'block: {
        if LAST > 8 {
            break 'block 1;
        }
        2
    };
    yield_!(value.min(LAST));
}
