//! The attribute `test`: a tokio test under a context of its own.
//!
//! Small enough to be read in one go, so its stages are three functions: [`parse`], [`check`], [`emit`].

use crate::errors::{self, Errors};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Expr, FnArg, ItemFn, Meta, Path, Token, Type};

/// The whole way, with tokens that a test can make.
pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let (options, function) = match parse(args, item) {
        Ok(parsed) => parsed,
        Err(errors) => return errors.into_compile_errors(),
    };
    match check(&function) {
        Ok(by_reference) => emit(&options, &function, by_reference),
        Err(errors) => {
            let errors = errors.into_compile_errors();
            let mut stub = function;
            // Still a function of that name, but no test, and nothing in it to complain about.
            stub.attrs.clear();
            quote!(#errors #[allow(unused)] #stub)
        }
    }
}

/// What is ours of the options, and what is tokio's.
struct Options {
    krate: Option<Path>,
    tokio: TokenStream,
}

fn parse(args: TokenStream, item: TokenStream) -> Result<(Options, ItemFn), Errors> {
    let function = syn::parse2::<ItemFn>(item.clone()).map_err(|error| match item.into_iter().next() {
        Some(first) if !is_function(&error) => errors::test_not_a_function(&first),
        _ => error,
    });
    let mut krate = None;
    // What does not parse is tokio's to report.
    let tokio = match Punctuated::<Meta, Token![,]>::parse_terminated.parse2(args.clone()) {
        Err(_) => args,
        Ok(options) => {
            let (ours, tokios): (Vec<_>, Vec<_>) =
                options.into_iter().partition(|option| path_of(option).is_some());
            krate = ours.iter().find_map(path_of).cloned();
            // By a path that means the same everywhere.
            let is_named = tokios.iter().any(|option| option.path().is_ident("crate"));
            let named = (!is_named).then(|| quote!(crate = "::tokio"));
            let tokios = tokios.iter().map(ToTokens::to_token_stream).chain(named);
            quote!(#(#tokios),*)
        }
    };
    Ok((Options { krate, tokio }, function.map_err(Errors::from)?))
}

/// Whether the item is a function, though one that does not parse.
fn is_function(error: &syn::Error) -> bool {
    !error.to_string().contains("`fn`")
}

/// The path to our crate; tokio's own option of that name is a string.
fn path_of(option: &Meta) -> Option<&Path> {
    match option {
        Meta::NameValue(option) if option.path.is_ident("crate") => match &option.value {
            Expr::Path(path) => Some(&path.path),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the context is taken by reference.
fn check(function: &ItemFn) -> Result<bool, Errors> {
    let mut errors = Errors::default();
    if function.sig.asyncness.is_none() {
        errors.push(errors::test_not_async(&function.sig));
    }
    let by_reference = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) if function.sig.inputs.len() == 1 => {
            matches!(*argument.ty, Type::Reference(_))
        }
        _ => {
            errors.push(errors::test_without_context(&function.sig));
            false
        }
    };
    if errors.is_empty() { Ok(by_reference) } else { Err(errors) }
}

// Input:
//
//     #[ctx_runtime::test(start_paused = true)]
//     async fn ends(ctx: Context) -> io::Result<()> { BODY }
//
// Output:
//
//     #[::tokio::test(start_paused = true, crate = "::tokio")]
//     async fn ends() -> io::Result<()> {
//         #[allow(clippy::unused_async)]
//         async fn ends(ctx: Context) -> io::Result<()> { BODY }
//         ::ctx_runtime::private::run_test("ends", ends).await
//     }
fn emit(options: &Options, function: &ItemFn, by_reference: bool) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let ident = &sig.ident;
    let output = &sig.output;
    let span = Span::mixed_site().located_at(ident.span());
    let krate = options
        .krate
        .as_ref()
        .map_or_else(|| quote_spanned!(span=> ::ctx_runtime), ToTokens::to_token_stream);
    let tokio = &options.tokio;
    let name = ident.to_string();
    let body = if by_reference {
        quote_spanned!(span=> |ctx| async move { #ident(&ctx).await })
    } else {
        ident.to_token_stream()
    };
    quote_spanned! {span=>
        #[::tokio::test(#tokio)]
        #(#attrs)*
        #vis async fn #ident() #output {
            #[allow(clippy::unused_async)]
            #sig #block
            #krate::private::run_test(#name, #body).await
        }
    }
}
