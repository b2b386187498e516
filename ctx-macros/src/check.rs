//! Syntax to a generator: every rule, all of them each time.
//!
//! One rule is one function here, in [`body`] (what stands between the braces) or in [`args`](crate::args) (the
//! options), and one pair of files in `tests/ui`. A rule refuses only what cannot work; what it cannot see, rustc will.

mod body;
mod borrow;
mod macros;

pub(crate) use self::body::is_no_checkpoint;
pub(crate) use self::borrow::owned;
pub(crate) use self::macros::{is_std, mentions, mentions_yield};

use crate::args::{Args, Kind};
use crate::errors::{self, Errors};
use crate::parse::{Body, Function, Source};
use crate::words::Word;
use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Attribute, Expr, FnArg, GenericArgument, Generics, Ident, Lit, Pat, PatType, Path, PathArguments,
    Receiver, ReceiverKind, ReturnType, Safety, Signature, Stmt, Token, Type, TypeParamBound, Visibility,
};

/// A function that can be made into a generator.
pub(crate) struct Generator {
    args: Args,
    attrs: Vec<Attribute>,
    vis: Visibility,
    unsafety: Safety,
    fn_token: Token![fn],
    ident: Ident,
    generics: Generics,
    arguments: Vec<Argument>,
    item: Type,
    fallible: bool,
    body_attrs: Vec<Attribute>,
    body: Vec<Stmt>,
    words: Vec<Word>,
    returns_value: bool,
}

/// An argument, by what the body does with it.
#[derive(Clone)]
pub(crate) enum Argument {
    /// `self`: the body captures it under this name, as no other can be given to it.
    Receiver(Receiver),
    /// What the generator is started under; in the body the name stands for the generator's own context.
    Context(PatType),
    Value(PatType),
}

impl Generator {
    /// The options.
    pub(crate) fn args(&self) -> &Args {
        &self.args
    }

    pub(crate) fn attrs(&self) -> &[Attribute] {
        &self.attrs
    }

    pub(crate) fn vis(&self) -> &Visibility {
        &self.vis
    }

    pub(crate) fn unsafety(&self) -> &Safety {
        &self.unsafety
    }

    pub(crate) fn fn_token(&self) -> Token![fn] {
        self.fn_token
    }

    pub(crate) fn ident(&self) -> &Ident {
        &self.ident
    }

    pub(crate) fn generics(&self) -> &Generics {
        &self.generics
    }

    pub(crate) fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// What it yields.
    pub(crate) fn item(&self) -> &Type {
        &self.item
    }

    /// Whether the item is a `Result`: `?` yields the error and ends.
    pub(crate) fn is_fallible(&self) -> bool {
        self.fallible
    }

    /// The attributes at the top of the body, `#![..]`.
    pub(crate) fn body_attrs(&self) -> &[Attribute] {
        &self.body_attrs
    }

    pub(crate) fn body(&self) -> &[Stmt] {
        &self.body
    }

    /// Those of the body's macros that it may call.
    pub(crate) fn words(&self) -> &[Word] {
        &self.words
    }

    /// Whether some `return` has an expression with it.
    pub(crate) fn returns_value(&self) -> bool {
        self.returns_value
    }

    /// For `rewrite`, which replaces expressions; the number of statements stays.
    pub(crate) fn body_mut(&mut self) -> &mut [Stmt] {
        &mut self.body
    }
}

/// A function that cannot be made into a generator, with what is needed for a stub that looks like it.
pub(crate) struct Refused {
    pub(crate) errors: Errors,
    pub(crate) args: Args,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) signature: Signature,
    /// What it would yield, as far as that can be told.
    pub(crate) item: Option<Type>,
    /// Whether it is more than a declaration.
    pub(crate) has_body: bool,
}

pub(crate) fn check(source: Source) -> Result<Generator, Box<Refused>> {
    let Source { args, function: Function { mut attrs, vis, mut signature, body }, mut errors } = source;

    inline_without_buffer(&args, &mut errors);
    inline_without_overflow(&args, &mut errors);
    inline_without_name(&args, &mut errors);
    inline_without_grace(&args, &mut errors);
    inline_without_local(&args, &mut errors);
    blocking_without_grace(&args, &mut errors);
    blocking_without_local(&args, &mut errors);
    blocking_without_inline(&args, &mut errors);
    overflow_has_buffer(&args, &mut errors);
    buffer_has_room(&args, &mut errors);
    attribute_once(&mut attrs, &args, &mut errors);
    no_checkpoint_on_loop(&mut attrs, &mut errors);
    not_entry_point(&signature, &mut errors);
    not_test(&mut attrs, &signature, &mut errors);
    not_instrumented(&body, &signature, &mut errors);
    asynchronous(&signature, &args, &mut errors);
    blocking_is_not_asynchronous(&signature, &args, &mut errors);
    not_const(&signature, &mut errors);
    not_extern(&signature, &mut errors);
    not_variadic(&signature, &mut errors);
    let item = item(&signature, &args, &mut errors);
    let context = context(&signature, &args, &mut errors);
    generics_bounded(&signature, &args, item.as_ref(), &mut errors);
    receiver_owned(&signature, &args, item.as_ref(), &mut errors);
    arguments_owned(&signature, context, &args, &mut errors);
    let fallible = item.as_ref().is_some_and(is_result);
    let has_body = !matches!(body, Body::Missing);
    let body = match body {
        Body::Statements { attrs, statements } => {
            let context = context.name(&signature);
            let kind = match args.kind() {
                // What is right in one that is async is not to be reported besides.
                Kind::Blocking if signature.asyncness.is_some() => Kind::Spawned,
                kind => kind,
            };
            let returns_value =
                body::check(&statements, kind, item.as_ref(), &signature, context.as_deref(), &mut errors);
            Some((attrs, statements, returns_value))
        }
        Body::Broken(error) => {
            errors.push(error);
            None
        }
        Body::Missing => {
            errors.push(errors::no_body(&signature, made_type(&args), item.as_ref()));
            None
        }
    };

    remove_marks(&mut signature);
    match (item, body) {
        (Some(item), Some((body_attrs, body, returns_value))) if errors.is_empty() => {
            let arguments = arguments(signature.inputs, context);
            let Signature { safety: unsafety, fn_token, ident, generics, .. } = signature;
            let words = macros::words(&body, args.kind());
            Ok(Generator {
                args,
                attrs,
                vis,
                unsafety,
                fn_token,
                ident,
                generics,
                arguments,
                item,
                fallible,
                body_attrs,
                body,
                words,
                returns_value,
            })
        }
        (item, _) => Err(Box::new(Refused { errors, args, attrs, vis, signature, item, has_body })),
    }
}

fn arguments(inputs: impl IntoIterator<Item = FnArg>, context: Found) -> Vec<Argument> {
    let arguments = inputs.into_iter().enumerate().map(|(position, argument)| match argument {
        FnArg::Receiver(receiver) => Argument::Receiver(receiver),
        FnArg::Typed(argument) if context.is_at(position) => Argument::Context(argument),
        FnArg::Typed(argument) => Argument::Value(argument),
    });
    arguments.collect()
}

// The options, one with another.

/// Nothing runs ahead of a consumer that runs the body itself.
fn inline_without_buffer(args: &Args, errors: &mut Errors) {
    if let (true, Some(buffer)) = (args.is_inline(), args.buffer_key()) {
        errors.push(errors::inline_with_buffer(buffer));
    }
}

/// It has no buffer that could overflow.
fn inline_without_overflow(args: &Args, errors: &mut Errors) {
    if let (true, Some(overflow)) = (args.is_inline(), args.overflow_key()) {
        errors.push(errors::inline_with_overflow(overflow));
    }
}

/// Reports list what goes on by itself.
fn inline_without_name(args: &Args, errors: &mut Errors) {
    if let (true, Some(name)) = (args.is_inline(), args.name_key()) {
        errors.push(errors::inline_with_name(name));
    }
}

/// It has no clean-ups.
fn inline_without_grace(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(grace)) = (args.inline_key(), args.grace_key()) {
        errors.push(errors::inline_with_grace(grace));
    }
}

/// Its body runs wherever its consumer is.
fn inline_without_local(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(local)) = (args.inline_key(), args.local_key()) {
        errors.push(errors::inline_with_local(local));
    }
}

/// It has no clean-ups.
fn blocking_without_grace(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(grace)) = (args.blocking_key(), args.grace_key()) {
        errors.push(errors::blocking_with_grace(grace));
    }
}

/// Its body leaves the thread.
fn blocking_without_local(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(local)) = (args.blocking_key(), args.local_key()) {
        errors.push(errors::blocking_with_local(local));
    }
}

/// Its body leaves its consumer.
fn blocking_without_inline(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(inline)) = (args.blocking_key(), args.inline_key()) {
        errors.push(errors::blocking_with_inline(inline));
    }
}

/// Checks that there is something that can overflow. An option that was not understood may have been meant to say so, and with
/// `inline` there is nothing to be added.
fn overflow_has_buffer(args: &Args, errors: &mut Errors) {
    let unclear = args.unsure() || args.is_inline();
    if let (Some(overflow), None, false) = (args.overflow_key(), args.buffer(), unclear) {
        errors.push(errors::overflow_without_buffer(overflow));
    }
}

/// Checks that what can overflow is not nothing. What is no literal, the builder checks when it is called.
fn buffer_has_room(args: &Args, errors: &mut Errors) {
    if let (Some(_), Some(items)) = (args.overflow_key(), args.buffer()) {
        if is_zero(items) {
            errors.push(errors::overflow_without_room(items));
        }
    }
}

fn is_zero(value: &Expr) -> bool {
    match value {
        Expr::Lit(literal) => matches!(&literal.lit, Lit::Int(number) if number.base10_digits() == "0"),
        Expr::Group(group) => is_zero(&group.expr),
        Expr::Paren(paren) => is_zero(&paren.expr),
        _ => false,
    }
}

// What the attribute stands on.

/// Reports the attributes that are not to be there, and takes them off, so that none complains about the stub.
fn refuse(
    attrs: &mut Vec<Attribute>,
    errors: &mut Errors,
    is_one: impl Fn(&Attribute) -> bool,
    error: impl Fn(&Attribute) -> syn::Error,
) {
    attrs.retain(|attribute| {
        let is_refused = is_one(attribute);
        if is_refused {
            errors.push(error(attribute));
        }
        !is_refused
    });
}

/// The second one would be handed what this one makes.
fn attribute_once(attrs: &mut Vec<Attribute>, args: &Args, errors: &mut Errors) {
    refuse(attrs, errors, |attribute| is_ours(attribute.path(), "generator", args), errors::attribute_twice);
}

/// It is for a loop of the body.
fn no_checkpoint_on_loop(attrs: &mut Vec<Attribute>, errors: &mut Errors) {
    refuse(attrs, errors, is_no_checkpoint, errors::no_checkpoint_elsewhere);
}

/// Whether `path` is `name` alone, or `name` in our crate.
fn is_ours(path: &Path, name: &str, args: &Args) -> bool {
    let mut segments: Vec<&Ident> = path.segments.iter().map(|segment| &segment.ident).collect();
    if segments.pop().is_none_or(|last| last != name) {
        return false;
    }
    let ours = match args.krate() {
        Some(krate) => segments.iter().copied().eq(krate.segments.iter().map(|segment| &segment.ident)),
        None => false,
    };
    ours || segments.is_empty() || matches!(*segments, [only] if only == "ctx_runtime")
}

/// A `main` that takes nothing is the program's, as far as anybody can tell here.
fn not_entry_point(signature: &Signature, errors: &mut Errors) {
    if is_entry_point(signature) {
        errors.push(errors::entry_point(signature));
    }
}

pub(crate) fn is_entry_point(signature: &Signature) -> bool {
    signature.ident == "main" && signature.inputs.is_empty()
}

/// An attribute that makes a test of a function.
fn not_test(attrs: &mut Vec<Attribute>, signature: &Signature, errors: &mut Errors) {
    let is_test =
        |attribute: &Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "test");
    refuse(attrs, errors, is_test, |attribute| errors::is_test(attribute, signature));
}

/// `#[tracing::instrument]` must come after this attribute: what it makes of a body returns its item.
fn not_instrumented(body: &Body, signature: &Signature, errors: &mut Errors) {
    if let Body::Statements { statements, .. } = body {
        if statements
            .iter()
            .any(|statement| macros::mentions(statement.to_token_stream(), "__tracing_attr_span"))
        {
            errors.push(errors::instrumented_first(signature));
        }
    }
}

// The function's head.

fn asynchronous(signature: &Signature, args: &Args, errors: &mut Errors) {
    // What `#[tokio::main]` has made of one is a mistake of its own.
    if !is_entry_point(signature) && signature.asyncness.is_none() && args.blocking_key().is_none() {
        errors.push(errors::not_async(signature, args.may_be_blocking()));
    }
}

fn blocking_is_not_asynchronous(signature: &Signature, args: &Args, errors: &mut Errors) {
    if let (Some(asyncness), Some(_)) = (signature.asyncness, args.blocking_key()) {
        errors.push(errors::blocking_async(asyncness));
    }
}

fn not_const(signature: &Signature, errors: &mut Errors) {
    if let Some(constness) = signature.constness {
        errors.push(errors::is_const(constness));
    }
}

fn not_extern(signature: &Signature, errors: &mut Errors) {
    if let Some(abi) = &signature.abi {
        errors.push(errors::is_extern(abi));
    }
}

fn not_variadic(signature: &Signature, errors: &mut Errors) {
    if let Some(variadic) = &signature.variadic {
        errors.push(errors::is_variadic(variadic));
    }
}

/// What one yield hands on: the return type, if it is one that can be.
fn item(signature: &Signature, args: &Args, errors: &mut Errors) -> Option<Type> {
    let ReturnType::Type(_, ty) = &signature.output else {
        errors.push(errors::no_return_type(signature));
        return None;
    };
    match bare(ty) {
        Type::ImplTrait(returned) => {
            let Some(stream) = returned.bounds.iter().find_map(as_stream) else {
                errors.push(errors::returns_impl(ty));
                return None;
            };
            let item = stream_item(stream);
            errors.push(errors::returns_stream(ty, item));
            item.cloned()
        }
        Type::Path(path) if path.qself.is_none() && is_ours(&path.path, made_type(args), args) => {
            let item = path.path.segments.last().and_then(|last| first_type(&last.arguments));
            errors.push(errors::returns_generator(ty, item, args.kind()));
            item.cloned()
        }
        _ => {
            let borrow = if args.is_inline() { None } else { borrow::find(ty, &signature.generics) };
            if let Some(borrow) = borrow {
                errors.push(errors::borrowed_item(&borrow, args.may_be_inline()));
            }
            Some((**ty).clone())
        }
    }
}

/// A type parameter without any bound is not `Send`, and not `'static`, as far as rustc knows. What others bring along, only that can tell.
fn generics_bounded(signature: &Signature, args: &Args, item: Option<&Type>, errors: &mut Errors) {
    let bounds = match args.kind() {
        Kind::Inline => return,
        Kind::Local => "'static",
        Kind::Spawned | Kind::Blocking => "Send + 'static",
    };
    let of_values = signature.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(&*argument.ty),
        FnArg::Receiver(_) => None,
    });
    let held: Vec<&Type> = of_values.chain(item).collect();
    for param in signature.generics.type_params() {
        let name = param.ident.to_string();
        let is_bounded = param.bounds.iter().any(|bound| !is_sized(bound))
            || signature
                .generics
                .where_clause
                .iter()
                .any(|clause| macros::mentions(clause.to_token_stream(), &name));
        let is_held =
            || held.iter().any(|ty| matches!(bare(ty), Type::Path(path) if path.path.is_ident(&param.ident)));
        if !is_bounded && is_held() {
            errors.push(errors::unbounded(param, bounds));
        }
    }
}

/// `Sized`, or `?Sized`.
fn is_sized(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Trait(bound) if bound.path.is_ident("Sized"))
}

/// What the attribute puts around the item.
fn made_type(args: &Args) -> &'static str {
    match args.kind() {
        Kind::Inline => "Inline",
        Kind::Local => "LocalGenerator",
        Kind::Spawned | Kind::Blocking => "Generator",
    }
}

/// The arguments of a bound that is a stream: `<Item = u64>`.
fn as_stream(bound: &TypeParamBound) -> Option<&PathArguments> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let last = bound.path.segments.last()?;
    let is_stream = ["Stream", "FusedStream", "TryStream"].iter().any(|name| last.ident == name);
    is_stream.then_some(&last.arguments)
}

fn stream_item(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
        _ => None,
    })
}

fn first_type(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// Whether the item's type is a path that ends in `Result`. What an alias of another name stands for, syntax cannot tell.
fn is_result(item: &Type) -> bool {
    match bare(item) {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "Result"),
        _ => false,
    }
}

/// The type within parentheses, and within the invisible groups that `$ty` of a macro leaves.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        _ => ty,
    }
}

// Its arguments.

/// Which argument is the context.
#[derive(Clone, Copy)]
enum Found {
    None,
    At(usize),
    /// A mistake was reported; what may have been meant is not to be reported for more.
    Unclear,
}

impl Found {
    fn is_at(self, position: usize) -> bool {
        matches!(self, Self::At(at) if at == position)
    }

    /// How an expression refers to it.
    fn name(self, signature: &Signature) -> Option<String> {
        let Self::At(position) = self else { return None };
        match signature.inputs.iter().nth(position) {
            Some(FnArg::Typed(PatType { pat, ty, .. })) => match (&**pat, bare(ty)) {
                (Pat::Ident(name), Type::Reference(_)) => Some(name.ident.to_string()),
                (Pat::Ident(name), _) => Some(format!("&{}", name.ident)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The argument marked `#[ctx]`, else the only one of type `Context` or `&Context`, else the one named `ctx`.
fn context(signature: &Signature, args: &Args, errors: &mut Errors) -> Found {
    let typed = || {
        signature.inputs.iter().enumerate().filter_map(|(position, argument)| match argument {
            FnArg::Typed(argument) => Some((position, argument)),
            FnArg::Receiver(_) => None,
        })
    };
    let marked: Vec<_> = typed()
        .filter_map(|(at, argument)| {
            argument.attrs.iter().find(|attribute| is_mark(attribute)).map(|mark| (at, mark))
        })
        .collect();
    let of_type: Vec<_> = typed().filter(|(_, argument)| is_context(&argument.ty, args)).collect();
    let named =
        typed().find(|(_, argument)| matches!(&*argument.pat, Pat::Ident(name) if name.ident == "ctx"));

    match args.cancellable() {
        None => context_not_needed(signature, &marked, &of_type, args, errors),
        Some(cancellable) => match (&*marked, &*of_type, named) {
            (&[(at, _)], ..) | ([], &[(at, _)], _) | ([], _, Some((at, _))) => Found::At(at),
            ([_, (_, second), ..], ..) => {
                errors.push(errors::two_marks(second));
                Found::Unclear
            }
            ([], [_, (_, second), ..], None) => {
                errors.push(errors::two_contexts(&second.ty));
                Found::Unclear
            }
            ([], [], None) => context_missing(cancellable, signature, errors),
        },
    }
}

/// Checks that a generator that no context ends takes none. A name alone is no sign of one.
fn context_not_needed(
    signature: &Signature,
    marked: &[(usize, &Attribute)],
    of_type: &[(usize, &PatType)],
    args: &Args,
    errors: &mut Errors,
) -> Found {
    // The option that was not understood may have been meant to say so.
    match (marked, of_type) {
        _ if args.unsure() => return Found::Unclear,
        ([(_, mark), ..], _) => errors.push(errors::context_unused(mark, signature)),
        ([], [(_, argument), ..]) => errors.push(errors::context_unused(&argument.ty, signature)),
        ([], []) => return Found::None,
    }
    Found::Unclear
}

fn context_missing(cancellable: Span, signature: &Signature, errors: &mut Errors) -> Found {
    errors.push(errors::no_context(cancellable, signature));
    Found::None
}

/// `Context` or `&Context`, as a bare name or through our crate: `tera::Context` is another.
fn is_context(ty: &Type, args: &Args) -> bool {
    match bare(ty) {
        Type::Reference(reference) if reference.mutability.is_none() => is_context(&reference.elem, args),
        Type::Path(path) => {
            let plain = path.path.segments.last().is_some_and(|last| last.arguments.is_none());
            path.qself.is_none() && plain && is_ours(&path.path, "Context", args)
        }
        _ => false,
    }
}

fn is_mark(attribute: &Attribute) -> bool {
    attribute.path().is_ident("ctx")
}

fn remove_marks(signature: &mut Signature) {
    for argument in &mut signature.inputs {
        let (FnArg::Receiver(Receiver { attrs, .. }) | FnArg::Typed(PatType { attrs, .. })) = argument;
        attrs.retain(|attribute| !is_mark(attribute));
    }
}

/// Checks that `self` is owned, unless the body runs within the borrow.
fn receiver_owned(signature: &Signature, args: &Args, item: Option<&Type>, errors: &mut Errors) {
    let Some(receiver) = signature.receiver().filter(|_| !args.is_inline()) else { return };
    let borrow = borrow_of_self(receiver, &signature.generics);
    if let Some(borrow) = borrow {
        errors.push(errors::borrowed_self(&borrow, signature, receiver, args, item));
    }
}

fn borrow_of_self(receiver: &Receiver, generics: &Generics) -> Option<TokenStream> {
    match &receiver.kind {
        ReceiverKind::Reference(_, Some(lifetime), _) if borrow::lasts(lifetime, generics) => None,
        ReceiverKind::Reference(..) => Some(receiver.to_token_stream()),
        ReceiverKind::Typed(_, ty) => borrow::find(ty, generics),
        _ => None,
    }
}

/// Whether there is a `self` that borrows: a lifetime that the item leaves out is then its.
pub(crate) fn borrows_self(signature: &Signature) -> bool {
    signature.receiver().is_some_and(|receiver| borrow_of_self(receiver, &signature.generics).is_some())
}

/// Checks that the arguments are owned, all but the context: of that the generator gets a child.
fn arguments_owned(signature: &Signature, context: Found, args: &Args, errors: &mut Errors) {
    if args.is_inline() {
        return;
    }
    for (position, argument) in signature.inputs.iter().enumerate() {
        let FnArg::Typed(argument) = argument else { continue };
        let may_be_context = matches!(context, Found::Unclear) && is_context(&argument.ty, &Args::default());
        if context.is_at(position) || may_be_context {
            continue;
        }
        if let Some(borrow) = borrow::find(&argument.ty, &signature.generics) {
            let name = match &*argument.pat {
                Pat::Ident(name) => format!("`{}`", name.ident),
                _ => "an argument".to_owned(),
            };
            errors.push(errors::borrowed_argument(&borrow, &name, bare(&argument.ty), args.may_be_inline()));
        }
    }
}

/// Whether an expression is the empty tuple.
fn is_unit(value: &Expr) -> bool {
    matches!(value, Expr::Tuple(tuple) if tuple.elems.is_empty())
}
