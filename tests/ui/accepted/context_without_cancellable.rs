//! Another crate's `Context`, with the path to it; and what is only called `ctx`.

use ctx_runtime::{Context, generator};

mod template {
    pub struct Context(pub String);
}

#[generator]
pub async fn lines(context: template::Context) -> String {
    yield_!(context.0);
}

#[generator]
pub async fn letters(ctx: String) -> char {
    for letter in ctx.chars() {
        yield_!(letter);
    }
}

#[generator]
pub async fn optional(parent: Option<Context>) -> bool {
    yield_!(parent.is_some_and(|parent| parent.is_done()));
}
