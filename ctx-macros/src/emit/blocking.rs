//! The body of a blocking generator to tokens: plain code, which a yield leaves when the generator is stopped.
//!
//! It leaves by a `break`, and not by `return`, as that would leave any closure that a macro of others has put the yield into, and
//! no more than that: a label does not reach into a closure, so there it does not compile. And it matches on the result, as a user's
//! trait may have an `is_err` for all types.

use super::{end, error_type, statements};
use crate::check::Generator;
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

// Input:
//
//     #[generator(blocking)]
//     fn entries(root: PathBuf) -> PathBuf { BODY }
//
// Output:
//
//     #[track_caller]
//     fn entries(root: PathBuf) -> ::ctx_runtime::Generator<PathBuf> {
//         ::ctx_runtime::Generator::builder()
//             .name("entries")
//             .spawn_blocking::<PathBuf, _>(&::ctx_runtime::Context::background(), move |_, co| {
//                 let root = root;
//                 'body: {
//                     macro_rules! yield_ {
//                         ($item:expr $(,)?) => { if let ::core::result::Result::Err(_) = co.yield_({ $item }) { break 'body; } };
//                     }
//                     BODY
//                 }
//             })
//     }
//
// With `io::Result<PathBuf>`, what follows the arguments:
//
//     #[allow(unused_mut)]
//     let mut body = move || -> ::core::result::Result<(), E> {
//         'body: {
//             macro_rules! yield_ { .. }
//             BODY
//         }
//         #[allow(unreachable_code)]
//         ::core::result::Result::Ok(())
//     };
//     if let ::core::result::Result::Err(error) = body() {
//         let _ = co.yield_(::core::result::Result::Err(error));
//     }
pub(super) fn body(generator: &Generator, krate: &TokenStream, span: Span) -> TokenStream {
    let body = statements(generator.body(), &end(generator.body()), span);
    // The braces around `$item` are those of an async body's.
    let body = quote_spanned! {span=>
        'body: {
            macro_rules! yield_ {
                ($item:expr $(,)?) => { if let ::core::result::Result::Err(_) = co.yield_({ $item }) { break 'body; } };
            }
            #body
        }
    };
    if !generator.is_fallible() {
        return body;
    }
    let error = error_type(generator.item(), krate, span);
    // A closure that changes an argument in place (`mut file: File`) is called as one that is `mut`.
    quote_spanned! {span=>
        #[allow(unused_mut)]
        let mut body = move || -> ::core::result::Result<(), #error> {
            #body
            #[allow(unreachable_code)]
            ::core::result::Result::Ok(())
        };
        if let ::core::result::Result::Err(error) = body() {
            let _ = co.yield_(::core::result::Result::Err(error));
        }
    }
}
