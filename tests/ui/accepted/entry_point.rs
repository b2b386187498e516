//! A method of this name, and a function that takes something.

use ctx_runtime::{Context, generator};

pub struct Program;

impl Program {
    #[generator]
    pub async fn main(self) -> u64 {
        yield_!(0);
    }
}

#[generator(cancellable)]
pub async fn main(ctx: Context) -> u64 {
    yield_!(0);
}
