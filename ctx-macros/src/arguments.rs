//! What macros are given, where it is known that they run it in place: the body's own, those of std, `join!` and `select!`.

use crate::check::is_std;
use crate::words::Word;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, Macro, Pat, Path, Token, token};

/// Rewrites the expressions that a macro is given. Where they are none after all, it keeps its tokens.
pub(crate) fn rewrite(mac: &mut Macro, rewrite: &mut dyn FnMut(&mut Expr)) {
    let tokens = mac.tokens.clone();
    let rewritten = if is_named(&mac.path, &["select"]) {
        (|input: ParseStream<'_>| arms(input, rewrite)).parse2(tokens)
    } else if Word::called_by(&mac.path).is_some() || is_std(&mac.path) || runs_in_place(&mac.path) {
        (|input: ParseStream<'_>| arguments(input, rewrite)).parse2(tokens)
    } else {
        return;
    };
    if let Ok(rewritten) = rewritten {
        mac.tokens = rewritten;
    }
}

/// Whether a macro of this name, as it is known, runs what it is given where it stands, and may wait for it.
pub(crate) fn runs_in_place(path: &Path) -> bool {
    is_named(path, &["select", "join", "try_join"])
}

fn is_named(path: &Path, names: &[&str]) -> bool {
    path.segments.last().is_some_and(|last| names.iter().any(|name| last.ident == name))
}

fn arguments(input: ParseStream<'_>, rewrite: &mut dyn FnMut(&mut Expr)) -> syn::Result<TokenStream> {
    let mut seen = biased(input)?;
    let mut arguments = Punctuated::<Expr, Token![,]>::parse_terminated(input)?;
    arguments.iter_mut().for_each(rewrite);
    arguments.to_tokens(&mut seen);
    Ok(seen)
}

/// The `biased;` that a `join!` or a `select!` may begin with.
fn biased(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut seen = TokenStream::new();
    if input.peek(Ident) && input.peek2(Token![;]) {
        input.parse::<Ident>()?.to_tokens(&mut seen);
        input.parse::<Token![;]>()?.to_tokens(&mut seen);
    }
    Ok(seen)
}

/// The arms of a `select!`, of tokio's or futures': `biased; pattern = future, if condition => handler, else => handler`.
fn arms(input: ParseStream<'_>, rewrite: &mut dyn FnMut(&mut Expr)) -> syn::Result<TokenStream> {
    let mut seen = biased(input)?;
    let mut rewritten = |mut expr: Expr, seen: &mut TokenStream| {
        rewrite(&mut expr);
        expr.to_tokens(seen);
    };
    while !input.is_empty() {
        if input.peek2(Token![=>]) {
            // `else`, `complete`, `default`.
            input.parse::<proc_macro2::TokenTree>()?.to_tokens(&mut seen);
        } else {
            Pat::parse_multi_with_leading_vert(input)?.to_tokens(&mut seen);
            input.parse::<Token![=]>()?.to_tokens(&mut seen);
            rewritten(input.parse()?, &mut seen);
            if input.peek(Token![,]) {
                input.parse::<Token![,]>()?.to_tokens(&mut seen);
                input.parse::<Token![if]>()?.to_tokens(&mut seen);
                rewritten(input.parse()?, &mut seen);
            }
        }
        input.parse::<Token![=>]>()?.to_tokens(&mut seen);
        let handler = if input.peek(token::Brace) {
            Expr::parse_with_earlier_boundary_rule(input)?
        } else {
            input.parse()?
        };
        rewritten(handler, &mut seen);
        input.parse::<Option<Token![,]>>()?.to_tokens(&mut seen);
    }
    Ok(seen)
}
