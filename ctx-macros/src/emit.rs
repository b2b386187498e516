//! A generator to tokens: what a person would write with the builder; or, after a mistake, a stub.
//!
//! Every token that is not the user's stands at the function's name, where rustc then reports what it alone can see (a
//! capture that is not `Send`), and has `mixed_site` hygiene: `co` is no variable that the body could meet. There is no
//! `unsafe` among them.

mod blocking;
mod inline;

use crate::args::{Args, Kind, Policy};
use crate::check::{Argument, Generator, Refused, borrows_self, is_entry_point, mentions, owned};
use crate::words::Word;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, GenericArgument, Ident, LitStr, Macro, Pat, PatIdent, PatType, Path, PathArguments,
    Stmt, Type,
};

// Input:
//
//     #[generator(cancellable, buffer = 2)]
//     async fn count(ctx: &Context, start: u64) -> u64 { BODY }
//
// Output:
//
//     #[track_caller]
//     fn count(ctx: &Context, start: u64) -> ::ctx_runtime::Generator<u64> {
//         ::ctx_runtime::Generator::builder()
//             .name("count")
//             .buffer(2)
//             .spawn::<u64, _, _>(ctx, move |ctx, co| async move {
//                 #[allow(unused_variables)]
//                 let ctx = &ctx;
//                 let start = start;
//                 let co = &co;
//                 macro_rules! yield_ {
//                     ($item:expr $(,)?) => { co.yield_({ $item }).await };
//                 }
//                 BODY
//             })
//     }
pub(crate) fn generator(generator: &Generator) -> TokenStream {
    match generator.args().kind() {
        Kind::Inline => inline::generator(generator),
        kind => with_builder(generator, kind),
    }
}

fn with_builder(generator: &Generator, kind: Kind) -> TokenStream {
    let span = Span::mixed_site().located_at(generator.ident().span());
    let krate = krate(generator.args().krate(), span);
    let item = generator.item();

    let attrs = generator.attrs();
    let track_caller = track_caller(attrs, span);
    let (vis, unsafety, fn_token, ident) =
        (generator.vis(), generator.unsafety(), generator.fn_token(), generator.ident());
    let (generics, where_clause) = (generator.generics(), &generator.generics().where_clause);
    let arguments: Arguments = arguments(generator.arguments(), generator.args(), &krate, span);
    let (parameters, context, child, rebound) =
        (&arguments.parameters, &arguments.context, &arguments.child, &arguments.rebound);

    let body_attrs = generator.body_attrs();
    let name = name(generator, span);
    let buffer = generator.args().buffer().map(|items| quote_spanned!(span=> .buffer(#items)));
    let grace = generator.args().grace().map(|limit| quote_spanned!(span=> .grace(#limit)));
    let overflow = generator.args().overflow().map(|policy| overflow(policy, &krate, span));
    let (made, start) = match kind {
        Kind::Local => {
            (quote_spanned!(span=> LocalGenerator), quote_spanned!(span=> spawn_local::<#item, _, _>))
        }
        Kind::Blocking => {
            (quote_spanned!(span=> Generator), quote_spanned!(span=> spawn_blocking::<#item, _>))
        }
        Kind::Spawned | Kind::Inline => {
            (quote_spanned!(span=> Generator), quote_spanned!(span=> spawn::<#item, _, _>))
        }
    };
    let mut outside = None;
    let body = if kind == Kind::Blocking {
        let body = blocking::body(generator, &krate, span);
        let inside = tracing(attrs).map(|tracing| {
            outside = Some(quote_spanned!(span=> let span = #tracing::Span::current();));
            quote_spanned!(span=> let _inside = span.enter();)
        });
        quote_spanned!(span=> { #inside #(#rebound)* #body })
    } else {
        let (words, body) = (words(generator, span), body(generator, &krate, span));
        in_span(attrs, quote_spanned!(span=> async move { #(#rebound)* #words #body }), span)
    };
    quote_spanned! {span=>
        #(#attrs)*
        #track_caller
        #vis #unsafety #fn_token #ident #generics(#(#parameters),*) -> #krate::#made<#item> #where_clause {
            #(#body_attrs)*
            #outside
            #krate::Generator::builder().name(#name)#buffer #overflow #grace.#start(#context, move |#child, co| #body)
        }
    }
}

/// The macros that the body has.
// `co` is a borrow, so that a block that outlives the body cannot take it along. The braces around `$item` let go of what it
// borrows on the way (a lock's guard) before the wait.
fn words(generator: &Generator, span: Span) -> TokenStream {
    let words = generator.words().iter().map(|word| match word {
        Word::Yield => quote_spanned! {span=>
            macro_rules! yield_ {
                ($item:expr $(,)?) => { co.yield_({ $item }).await };
            }
        },
        Word::YieldAll => quote_spanned! {span=>
            macro_rules! yield_all {
                ($items:expr $(,)?) => { co.yield_all($items).await };
            }
        },
        Word::Shield => quote_spanned! {span=>
            macro_rules! shield {
                ($section:expr $(,)?) => { co.shield($section).await };
            }
        },
        Word::Defer => quote_spanned! {span=>
            macro_rules! defer {
                ($clean_up:expr $(,)?) => { co.defer($clean_up) };
                ($value:expr, $clean_up:expr $(,)?) => { co.guard($value, $clean_up) };
            }
        },
    });
    let borrowed = if generator.args().is_inline() {
        quote_spanned!(span=> (&co).by_ref())
    } else {
        quote_spanned!(span=> &co)
    };
    quote_spanned!(span=> let co = #borrowed; #(#words)*)
}

/// A body in the span of `#[tracing::instrument]`, if the function has that: by itself it would be about the call only.
// Output: ::tracing::Instrument::instrument(async move { BODY }, ::tracing::Span::current())
fn in_span(attrs: &[Attribute], body: TokenStream, span: Span) -> TokenStream {
    match tracing(attrs) {
        Some(tracing) => {
            quote_spanned!(span=> #tracing::Instrument::instrument(#body, #tracing::Span::current()))
        }
        None => body,
    }
}

/// The path to `tracing`, as `#[tracing::instrument]` has it, or the usual one.
fn tracing(attrs: &[Attribute]) -> Option<TokenStream> {
    let path = attrs
        .iter()
        .map(Attribute::path)
        .find(|path| path.segments.last().is_some_and(|last| last.ident == "instrument"))?;
    let segments: Vec<_> = path.segments.iter().take(path.segments.len() - 1).collect();
    let leading = path.leading_colon;
    Some(match &*segments {
        [] => quote_spanned!(Span::mixed_site()=> ::tracing),
        segments => quote_spanned!(Span::mixed_site()=> #leading #(#segments)::*),
    })
}

/// The user's path to the crate, or the usual one.
fn krate(path: Option<&Path>, span: Span) -> TokenStream {
    path.map_or_else(|| quote_spanned!(span=> ::ctx_runtime), ToTokens::to_token_stream)
}

/// Outside a runtime the panic is the caller's (G12); so is the line that a report shows.
fn track_caller(attrs: &[Attribute], span: Span) -> Option<TokenStream> {
    let is_there = attrs.iter().any(|attribute| attribute.path().is_ident("track_caller"));
    (!is_there).then(|| quote_spanned!(span=> #[track_caller]))
}

fn name(generator: &Generator, span: Span) -> TokenStream {
    match generator.args().name() {
        Some(name) => name.to_token_stream(),
        None => LitStr::new(&generator.ident().unraw().to_string(), span).to_token_stream(),
    }
}

fn overflow(policy: Policy, krate: &TokenStream, span: Span) -> TokenStream {
    match policy {
        Policy::DropOldest => quote_spanned!(span=> .overflow(#krate::Overflow::DropOldest)),
        Policy::DropNewest => quote_spanned!(span=> .overflow(#krate::Overflow::DropNewest)),
    }
}

/// What becomes of the arguments.
struct Arguments {
    parameters: Vec<TokenStream>,
    /// The context that `spawn` is given.
    context: TokenStream,
    /// What the closure calls the generator's own context.
    child: TokenStream,
    /// Moves each argument into the body, used or not, and so that it is reported there if it is not.
    rebound: Vec<TokenStream>,
}

fn arguments(arguments: &[Argument], args: &Args, krate: &TokenStream, span: Span) -> Arguments {
    let mut parameters = Vec::new();
    let mut context = quote_spanned!(span=> &#krate::Context::background());
    let mut child = quote_spanned!(span=> _);
    let mut rebound = Vec::new();
    for (position, argument) in arguments.iter().enumerate() {
        match argument {
            Argument::Receiver(receiver) => {
                let this = &receiver.self_token;
                parameters.push(receiver.to_token_stream());
                // All of it, though the body may name one field only.
                rebound.push(quote_spanned!(span=> let _ = &#this;));
            }
            Argument::Context(argument) => {
                let by_reference = matches!(ungrouped(&argument.ty), Type::Reference(_));
                let borrow = by_reference.then(|| quote_spanned!(span=> &));
                let name = match plain_name(&argument.pat) {
                    Some(PatIdent { mutability, ident, .. }) => {
                        child = ident.to_token_stream();
                        let used = says_unused(ident).then(|| allow_use(span));
                        rebound.push(quote_spanned!(span=> #[allow(unused_variables)] #used let #mutability #ident = #borrow #ident;));
                        // The call uses it.
                        if says_unused(ident) { Ident::new("ctx", span) } else { ident.clone() }
                    }
                    None => Ident::new("ctx", span),
                };
                context = if by_reference { name.to_token_stream() } else { quote_spanned!(span=> &#name) };
                parameters.push(parameter(argument, &name));
            }
            Argument::Value(argument) => {
                let attrs = argument
                    .attrs
                    .iter()
                    .filter(|attribute| !is_for_parameter(attribute) || is_cfg(attribute));
                let attrs = quote_spanned!(span=> #(#attrs)*);
                if let Some(PatIdent { mutability, ident, .. }) = plain_name(&argument.pat) {
                    let used = says_unused(ident).then(|| allow_use(span));
                    let in_option =
                        args.mentions(ident).then(|| quote_spanned!(span=> #[allow(unused_variables)]));
                    parameters.push(parameter(argument, ident));
                    rebound.push(
                        quote_spanned!(span=> #attrs #used #in_option let #mutability #ident = #ident;),
                    );
                } else {
                    let (name, pat) = (format_ident!("arg{position}", span = span), &argument.pat);
                    parameters.push(parameter(argument, &name));
                    let cfgs = argument.attrs.iter().filter(|attribute| is_cfg(attribute));
                    let mutability = borrows_mutably(pat).then(|| quote_spanned!(span=> mut));
                    // First all of it: a pattern moves only what it names.
                    rebound.push(quote_spanned!(span=> #(#cfgs)* let #mutability #name = #name;));
                    if !matches!(**pat, Pat::Wild(_)) {
                        rebound.push(quote_spanned!(span=> #attrs let #pat = #name;));
                    }
                }
            }
        }
    }
    Arguments { parameters, context, child, rebound }
}

fn says_unused(name: &Ident) -> bool {
    name.to_string().starts_with('_')
}

/// A name that says "unused" is used in what moves it into the body.
fn allow_use(span: Span) -> TokenStream {
    quote_spanned!(span=> #[allow(clippy::no_effect_underscore_binding, clippy::used_underscore_binding)])
}

/// The pattern of an argument that is a name, and no more than that.
fn plain_name(pat: &Pat) -> Option<&PatIdent> {
    match pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => Some(name),
        _ => None,
    }
}

/// Whether there is a `ref mut` in a pattern: what it borrows from is changed through it.
fn borrows_mutably(pat: &Pat) -> bool {
    struct Borrows(bool);

    impl<'ast> Visit<'ast> for Borrows {
        fn visit_pat_ident(&mut self, name: &'ast PatIdent) {
            self.0 |= name.by_ref.is_some() && name.mutability.is_some();
            visit::visit_pat_ident(self, name);
        }
    }

    let mut borrows = Borrows(false);
    borrows.visit_pat(pat);
    borrows.0
}

fn parameter(argument: &PatType, name: &Ident) -> TokenStream {
    let PatType { attrs, colon_token, ty, .. } = argument;
    let attrs = attrs.iter().filter(|attribute| is_for_parameter(attribute));
    quote_spanned!(name.span()=> #(#attrs)* #name #colon_token #ty)
}

/// Whether an attribute of an argument speaks of the parameter, not of the variable that the body sees.
fn is_for_parameter(attribute: &Attribute) -> bool {
    let is_lint =
        ["allow", "deny", "expect", "forbid", "warn"].iter().any(|lint| attribute.path().is_ident(lint));
    !is_lint && (is_cfg(attribute) || !attribute.path().is_ident("cfg_attr"))
}

/// Whether an attribute may say that the argument is not there.
fn is_cfg(attribute: &Attribute) -> bool {
    let may_add_one =
        || attribute.path().is_ident("cfg_attr") && mentions(attribute.meta.to_token_stream(), "cfg");
    attribute.path().is_ident("cfg") || may_add_one()
}

fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        _ => ty,
    }
}

/// The body of a generator that is async.
// Input:  BODY of a generator of `Result<Row, E>`
// Output:
//
//     let result = async move {
//         if false {
//             return ::core::result::Result::Ok::<(), E>(());
//         }
//         BODY
//         #[allow(unreachable_code)]
//         ::core::result::Result::Ok(())
//     }
//     .await;
//     if let ::core::result::Result::Err(error) = result {
//         co.yield_(::core::result::Result::Err(error)).await;
//     }
fn body(generator: &Generator, krate: &TokenStream, span: Span) -> TokenStream {
    let end = end(generator.body());
    let body = statements(generator.body(), &end, span);
    if !generator.is_fallible() {
        // As below, for a `return` that has something with it: that this is no `()` is reported there.
        let first = generator.returns_value().then(|| quote_spanned!(span=> if false { return; }));
        return quote_spanned!(span=> #first #body);
    }
    let error = error_type(generator.item(), krate, span);
    let end = (!matches!(end, End::Never))
        .then(|| quote_spanned!(span=> #[allow(unreachable_code)] ::core::result::Result::Ok(())));
    // A block cannot say what it returns, and `?` and `return` need to know: the first `return` tells them.
    quote_spanned! {span=>
        let result = async move {
            if false {
                return ::core::result::Result::Ok::<(), #error>(());
            }
            #body
            #end
        }
        .await;
        if let ::core::result::Result::Err(error) = result {
            co.yield_(::core::result::Result::Err(error)).await;
        }
    }
}

/// The statements as they are, whatever the last one leaves.
fn statements(statements: &[Stmt], end: &End, span: Span) -> TokenStream {
    match end {
        End::Unit | End::Never => quote_spanned!(span=> #(#statements)*),
        End::Macro => quote_spanned!(span=> #(#statements)*;),
        // What is no `()` is reported at the user's last line.
        End::Unknown => quote_spanned!(span=> let _: () = { #(#statements)* };),
    }
}

/// The `E` of an item that is a `Result<T, E>`; what else a path to a `Result` leaves unsaid, a trait says.
fn error_type(item: &Type, krate: &TokenStream, span: Span) -> TokenStream {
    written_error_type(item).map_or_else(
        || quote_spanned!(span=> <#item as #krate::private::ResultItem>::Error),
        ToTokens::to_token_stream,
    )
}

fn written_error_type(item: &Type) -> Option<&Type> {
    let Type::Path(path) = ungrouped(item) else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    let mut arguments = arguments.args.iter();
    match (path.path.segments.len(), arguments.next(), arguments.next(), arguments.next()) {
        (1, Some(GenericArgument::Type(_)), Some(GenericArgument::Type(error)), None) => Some(error),
        _ => None,
    }
}

/// What the last statement leaves.
enum End {
    Unit,
    /// Nothing: a `loop` without a `break`.
    Never,
    /// A macro's value, with no `;` after it, of which it is known what it is.
    Macro,
    /// What its type is, syntax does not tell.
    Unknown,
}

fn end(statements: &[Stmt]) -> End {
    match statements.last() {
        Some(Stmt::Expr(Expr::Macro(last), None)) => end_of_macro(&last.mac),
        Some(Stmt::Macro(last)) if last.semi_token.is_none() => end_of_macro(&last.mac),
        Some(Stmt::Expr(Expr::Loop(last), None)) if !may_break(last.body.to_token_stream()) => End::Never,
        Some(Stmt::Expr(Expr::If(last), None)) if last.else_branch.is_none() => End::Unit,
        Some(Stmt::Expr(Expr::While(_) | Expr::ForLoop(_), None)) => End::Unit,
        Some(Stmt::Expr(_, None)) => End::Unknown,
        _ => End::Unit,
    }
}

fn end_of_macro(mac: &Macro) -> End {
    let known = ["yield_", "yield_all", "todo", "unimplemented", "panic", "unreachable"];
    if known.iter().any(|name| mac.path.is_ident(name)) { End::Macro } else { End::Unknown }
}

/// Whether there is a `break` in a loop, or a macro that may hide one.
fn may_break(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let breaks = match token {
            TokenTree::Group(group) => may_break(group.stream()),
            TokenTree::Ident(name) if name == "break" => true,
            TokenTree::Ident(name) if Word::ALL.iter().all(|word| name != word.name()) => {
                let bang =
                    tokens.next_if(|next| matches!(next, TokenTree::Punct(bang) if bang.as_char() == '!'));
                bang.is_some() && matches!(tokens.peek(), Some(TokenTree::Group(_)))
            }
            _ => false,
        };
        if breaks {
            return true;
        }
    }
    false
}

// Input: a function with a mistake in it
// Output:
//
//     ::core::compile_error! { "…" }
//     #[allow(unused)]
//     fn count(ctx: &Context, start: u64) -> ::ctx_runtime::Generator<u64> {
//         ::core::unimplemented!()
//     }
pub(crate) fn stub(refused: Refused) -> TokenStream {
    let Refused { errors, args, attrs, vis, signature, item, has_body } = refused;
    let span = Span::mixed_site().located_at(signature.ident.span());
    let krate = krate(args.krate(), span);
    let errors = errors.into_compile_errors();
    let is_entry = is_entry_point(&signature);
    let item = match item {
        // As a trait may have declared it.
        Some(item) if args.is_inline() && borrows_self(&signature) => item.into_token_stream(),
        Some(item) => owned(item).into_token_stream(),
        None => quote_spanned!(span=> ()),
    };
    let syn::Signature { safety, fn_token, ident, generics, inputs, .. } = signature;
    let where_clause = &generics.where_clause;
    let body =
        if has_body { quote_spanned!(span=> { ::core::unimplemented!() }) } else { quote_spanned!(span=> ;) };
    let made = match args.kind() {
        // Or rustc complains about what `main` returns, too.
        _ if is_entry => None,
        Kind::Inline => Some(quote_spanned!(span=> -> #krate::Inline<#item, ::core::future::Ready<()>>)),
        Kind::Local => Some(quote_spanned!(span=> -> #krate::LocalGenerator<#item>)),
        Kind::Spawned | Kind::Blocking => Some(quote_spanned!(span=> -> #krate::Generator<#item>)),
    };
    quote_spanned! {span=>
        #errors
        #(#attrs)*
        #[allow(unused)]
        #vis #safety #fn_token #ident #generics(#inputs) #made #where_clause #body
    }
}
