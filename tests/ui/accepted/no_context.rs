//! The context by type, by mark, by name, anywhere, and of every make.

use ctx_runtime::{Context, generator};

type Request = Context;

#[generator(cancellable)]
pub async fn by_type(start: u64, request: &Context) -> u64 {
    yield_!(start + u64::from(request.is_done()));
}

#[generator(cancellable)]
pub async fn by_path(request: ctx_runtime::Context) -> u64 {
    yield_!(u64::from(request.is_done()));
}

#[generator(cancellable)]
pub async fn by_mark(#[ctx] request: Request) -> u64 {
    yield_!(u64::from(request.is_done()));
}

#[generator(cancellable)]
pub async fn by_name(ctx: Request) -> u64 {
    yield_!(u64::from(ctx.is_done()));
}

#[generator(cancellable)]
pub async fn by_type_alone(_: &Context) -> u64 {
    yield_!(0);
}

#[generator(cancellable)]
pub async fn with_lifetime<'a>(ctx: &'a Context) -> u64 {
    yield_!(0);
}

#[generator(cancellable)]
pub async fn rebound(mut ctx: Context) -> u64 {
    ctx = ctx.with_value(0_u64);
    yield_!(*ctx.value().unwrap());
}
