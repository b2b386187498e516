//! The attribute macros of `ctx-runtime`.
//!
//! Users depend on `ctx-runtime`, which re-exports them.

mod args;
mod check;
mod emit;
mod errors;
#[cfg(test)]
mod expansion;
mod parse;
mod rewrite;

use proc_macro2::TokenStream;

/// DOCS
#[proc_macro_attribute]
pub fn generator(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(args.into(), item.into()).into()
}

/// The whole way, with tokens that a test can make.
fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let source = match parse::parse(args, item) {
        Ok(source) => source,
        Err(item) => return item.into_tokens(),
    };
    match check::check(source) {
        Ok(generator) => emit::generator(&rewrite::rewrite(generator)),
        Err(refused) => emit::stub(*refused),
    }
}
