//! Last lines that are `()`: a call's, a variable's, a macro's.

use ctx_runtime::generator;

fn finish() {}

#[generator]
pub async fn by_call() -> u64 {
    yield_!(0);
    finish()
}

#[generator]
pub async fn by_variable(end: ()) -> u64 {
    yield_!(0);
    end
}

#[generator]
pub async fn by_yield(last: u64) -> u64 {
    yield_!(last + 1)
}
