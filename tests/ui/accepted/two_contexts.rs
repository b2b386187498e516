//! Two contexts, of which one says that it is it.

use ctx_runtime::{Context, generator};

#[generator(cancellable)]
pub async fn marked(#[ctx] request: &Context, server: Context) -> bool {
    yield_!(request.is_done() || server.is_done());
}

#[generator(cancellable)]
pub async fn named(server: Context, ctx: &Context) -> bool {
    yield_!(ctx.is_done() || server.is_done());
}
