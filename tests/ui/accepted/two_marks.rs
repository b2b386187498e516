//! A mark against the type and the name.

use ctx_runtime::{Context, generator};

#[generator(cancellable)]
pub async fn marked(ctx: String, #[ctx] request: &Context) -> String {
    yield_!(format!("{ctx} {}", request.is_done()));
}
