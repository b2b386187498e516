#![deny(unused_must_use)]

use ctx_runtime::{Context, generator};

#[generator(cancellable)]
async fn count(ctx: &Context) -> u64 {
    yield_!(0);
}

#[tokio::main]
async fn main() {
    count(&Context::background());
}
