//! On each kind of loop, labelled or not, one that would get none, and one in a block of its own.

use ctx_runtime::generator;

#[generator]
pub async fn count(mut rest: u64) -> u64 {
    #[no_checkpoint]
    'up: for n in 0..3 {
        if n == 1 {
            continue 'up;
        }
        yield_!(n);
    }
    #[no_checkpoint]
    while rest > 0 {
        rest -= 1;
    }
    let last = async {
        #[no_checkpoint]
        loop {
            if rest == 3 {
                break rest;
            }
            yield_!(rest);
            rest += 1;
        }
    };
    yield_!(last.await);
}
