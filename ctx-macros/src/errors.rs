//! What can be wrong: the accumulator that collects it, and the catalogue of messages.
//!
//! A message is in lower case, says what is wrong at the smallest span where it is, and ends with a `help:` that is an
//! edit. The rules that raise them are in [`check`](crate::check) and [`args`](crate::args).

mod words;
mod written;

pub(crate) use self::words::*;
pub(crate) use self::written::written;
use crate::args::{Args, Kind};
use crate::check::owned;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::fmt::Display;
use syn::ext::IdentExt;
use syn::{Attribute, Error, Expr, FnArg, Ident, Pat, Receiver, ReceiverKind, Signature, Type};

/// The mistakes found so far; a function with several of them hears of all at once.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A `compile_error!` for each, in the order of the rules.
    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.into_iter().map(Error::into_compile_error).collect()
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

// The attribute `test`.

pub(crate) fn test_not_a_function(first: &TokenTree) -> Error {
    at(first, "`#[ctx_runtime::test]` goes on a function", "move it to the `async fn` that is the test")
}

pub(crate) fn test_not_async(signature: &Signature) -> Error {
    let name = &signature.ident;
    at(
        signature.fn_token,
        format_args!("the test `{name}` is not `async`"),
        format_args!("write `async fn {name}`, or use the plain `#[test]`"),
    )
}

pub(crate) fn test_without_context(signature: &Signature) -> Error {
    let name = &signature.ident;
    at(
        &signature.ident,
        format_args!("`#[ctx_runtime::test]` hands the test `{name}` a context, and nothing else"),
        format_args!("write `async fn {name}(ctx: Context)`, or use `#[tokio::test]` for a test without one"),
    )
}

fn at(fault: impl ToTokens, message: impl Display, help: impl Display) -> Error {
    Error::new_spanned(fault, format_args!("{message}\nhelp: {help}"))
}

fn at_span(span: Span, message: impl Display, help: impl Display) -> Error {
    Error::new(span, format_args!("{message}\nhelp: {help}"))
}

// What the attribute stands on.

pub(crate) fn not_a_function(first: &TokenTree) -> Error {
    let message = "`#[generator]` goes on a function";
    at(
        first,
        message,
        "move it to the `async fn` whose body has the `yield_!`, and write the item as its return type",
    )
}

pub(crate) fn no_body(signature: &Signature, made: &str, item: Option<&Type>) -> Error {
    let item = item.map_or_else(|| "T".to_owned(), written);
    let message = format!("the generator `{}` has no body", signature.ident);
    let help = format!(
        "in a trait, declare what callers see, without the attribute: `fn {}(..) -> {made}<{item}>;`",
        signature.ident
    );
    at(&signature.ident, message, help)
}

pub(crate) fn not_a_closure(first: &TokenTree) -> Error {
    let message = "`#[generator]` goes on a function, and not on a closure";
    let help = "write an `async fn`, or start it with `Generator::builder().spawn(&ctx, |ctx, co| async move { .. })`";
    at(first, message, help)
}

pub(crate) fn entry_point(signature: &Signature) -> Error {
    let message = "`#[generator]` on `main`: a program runs that once, and takes no items of it";
    at(&signature.ident, message, "give the generator a name of its own, and take its items in `main`")
}

pub(crate) fn is_test(attribute: &Attribute, signature: &Signature) -> Error {
    let message = format!("`#[generator]` on the test `{}`: a test hands no items on", signature.ident);
    at(attribute, message, "write the generator as a function of its own, and take its items in the test")
}

pub(crate) fn instrumented_first(signature: &Signature) -> Error {
    let message = format!("`#[instrument]` has changed the body of `{}` already", signature.ident);
    at(&signature.ident, message, "put it below the `#[generator]`: the body then runs in its span")
}

pub(crate) fn attribute_twice(second: &Attribute) -> Error {
    at(second, "`#[generator]` is here twice", "remove this one, and put its options into the other")
}

// The function's head.

pub(crate) fn not_async(signature: &Signature, may_be_blocking: bool) -> Error {
    let name = &signature.ident;
    let or = if may_be_blocking {
        ", or add the option `blocking`, if its body blocks: it then has a thread of its own"
    } else {
        ""
    };
    at(
        signature.fn_token,
        format!("the generator `{name}` is not `async`"),
        format!("write `async fn {name}`{or}"),
    )
}

pub(crate) fn blocking_async(asyncness: syn::Token![async]) -> Error {
    let message = "a `blocking` generator is not `async`: its body is plain code, on a thread of its own";
    at(asyncness, message, "remove `async`, or remove `blocking`")
}

pub(crate) fn is_const(constness: syn::Token![const]) -> Error {
    at(constness, "a generator cannot be `const`: to call it starts a task", "remove `const`")
}

pub(crate) fn is_extern(abi: &syn::Abi) -> Error {
    at(abi, "a generator cannot be `extern`: it returns a Rust type", "remove the `extern`")
}

pub(crate) fn is_variadic(variadic: &syn::Variadic) -> Error {
    at(variadic, "a generator cannot be variadic", "take a `Vec` of the arguments")
}

pub(crate) fn no_return_type(signature: &Signature) -> Error {
    let message = format!("the generator `{}` does not say what it yields", signature.ident);
    at(&signature.ident, message, "write the type of one item as the return type, as in `-> u64`")
}

pub(crate) fn returns_stream(ty: &Type, item: Option<&Type>) -> Error {
    let message = "the return type of a generator is its item, not the stream of them";
    match item {
        Some(item) => at(ty, message, format!("write `-> {}`", written(item))),
        None => at(ty, message, "write the type of one item, as in `-> u64`"),
    }
}

pub(crate) fn returns_generator(ty: &Type, item: Option<&Type>, kind: Kind) -> Error {
    let made = match kind {
        Kind::Inline => "Inline<.., ..>",
        Kind::Local => "LocalGenerator<..>",
        Kind::Spawned | Kind::Blocking => "Generator<..>",
    };
    let message =
        format!("the return type of a generator is its item: the attribute puts `{made}` around it");
    let item = item.map_or_else(|| "u64".to_owned(), written);
    let help = format!("write `-> {item}` (if each item is a generator, name it with a `type` of your own)");
    at(ty, message, help)
}

pub(crate) fn returns_impl(ty: &Type) -> Error {
    let message = "the item of a generator needs a type that can be named";
    at(ty, message, "write the type itself, or box it: `Box<dyn .. + Send>`")
}

pub(crate) fn unbounded(param: &syn::TypeParam, bounds: &str) -> Error {
    let name = &param.ident;
    let message = match bounds {
        "'static" => format!("a generator outlives the call, and `{name}` may be a type that borrows"),
        _ => format!(
            "`{name}` may be a type that is not `Send`, or that borrows: a generator outlives the call, in a task"
        ),
    };
    at(param, message, format!("write `{name}: {bounds}`"))
}

pub(crate) fn borrowed_item(borrow: &dyn ToTokens, may_be_inline: bool) -> Error {
    let message = "an item outlives the body that yields it, so it cannot borrow";
    let help = "yield something owned (`String` for `&str`, `Vec<T>` for `&[T]`, an `Arc<T>`)";
    at(borrow, message, format_args!("{help}{}", or_inline(may_be_inline)))
}

// Its arguments.

pub(crate) fn no_context(cancellable: Span, signature: &Signature) -> Error {
    let message = format!("`cancellable` needs a context, and `{}` takes none", signature.ident);
    let takes_any = signature.inputs.iter().any(|argument| matches!(argument, FnArg::Typed(_)));
    let by_another_name = if takes_any { ", mark one whose type has another name with `#[ctx]`" } else { "" };
    let help = format!("add the argument `ctx: &Context`{by_another_name}, or remove `cancellable`");
    at_span(cancellable, message, help)
}

pub(crate) fn two_contexts(second: &dyn ToTokens) -> Error {
    let message = "two arguments could be the context that ends this generator";
    at(second, message, "mark the one that does with `#[ctx]`")
}

pub(crate) fn two_marks(second: &Attribute) -> Error {
    at(
        second,
        "two arguments are marked with `#[ctx]`",
        "remove one of the marks: one context ends the generator",
    )
}

pub(crate) fn context_unused(argument: &dyn ToTokens, signature: &Signature) -> Error {
    let message = format!("`{}` takes a context, but is not `cancellable` by it", signature.ident);
    let help = "write `#[generator(cancellable)]` \
                (if this is another crate's `Context`, write its type with the path to it)";
    at(argument, message, help)
}

pub(crate) fn borrowed_self(
    borrow: &dyn ToTokens,
    signature: &Signature,
    receiver: &Receiver,
    args: &Args,
    item: Option<&Type>,
) -> Error {
    let name = &signature.ident;
    let owned = format!("{}_owned", name.unraw());
    let item = item.map_or_else(|| "T".to_owned(), written);
    let typed = signature.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    let (declared, passed): (Vec<_>, Vec<_>) = typed
        .enumerate()
        .map(|(position, argument)| {
            let name = match &*argument.pat {
                Pat::Ident(binding) => binding.ident.to_string(),
                _ => format!("arg{position}"),
            };
            (format!(", {name}: {}", written(&argument.ty)), name)
        })
        .unzip();
    let (declared, passed) = (declared.concat(), passed.join(", "));
    let options = if args.is_empty() { "" } else { "(..)" };
    // Of `self: &Arc<Self>` the clone is an `Arc<Self>`.
    let own = match &receiver.kind {
        ReceiverKind::Typed(_, ty) => match &**ty {
            Type::Reference(reference) => format!("self: {}", written(&reference.elem)),
            _ => "self".to_owned(),
        },
        _ => "self".to_owned(),
    };
    let receiver = written(receiver);
    let made = if args.kind() == Kind::Local { "LocalGenerator" } else { "Generator" };
    let asyncness = if args.kind() == Kind::Blocking { "" } else { "async " };
    let message = "a generator outlives the call, so it cannot borrow `self`";
    let help = format!(
        "let the generator take `self`, and call it from a wrapper that clones:\n\
         \x20   fn {name}({receiver}{declared}) -> {made}<{item}> {{ self.clone().{owned}({passed}) }}\n\
         \x20   #[generator{options}] {asyncness}fn {owned}({own}{declared}) -> {item} {{ .. }}{}",
        or_inline(args.may_be_inline())
    );
    at(borrow, message, help)
}

pub(crate) fn borrowed_argument(borrow: &dyn ToTokens, name: &str, ty: &Type, may_be_inline: bool) -> Error {
    let message = format!("a generator outlives the call, so it cannot borrow {name}");
    at(borrow, message, format_args!("{}{}", owned_instead(ty), or_inline(may_be_inline)))
}

/// What a help says besides, where the generator may as well do without a task: then it may borrow.
fn or_inline(may_be_inline: bool) -> &'static str {
    if may_be_inline {
        "\n      (with the option `inline` it may borrow: its body then has no task, and runs in its consumer)"
    } else {
        ""
    }
}

/// What to take in place of a borrowed `ty`.
fn owned_instead(ty: &Type) -> String {
    let Type::Reference(reference) = ty else {
        return format!("take something that owns what it holds, or `{}`", written(owned(ty.clone())));
    };
    let target = written(&reference.elem);
    if reference.mutability.is_some() {
        return format!("take `{target}`, or `Arc<Mutex<{target}>>` to share it");
    }
    match (&*reference.elem, target.as_str()) {
        (_, "str") => "take `String`, or `&'static str`".to_owned(),
        (_, "Path" | "std::path::Path") => "take `PathBuf`".to_owned(),
        (Type::Slice(slice), _) => format!("take `Vec<{}>`", written(&slice.elem)),
        (Type::TraitObject(_), _) => format!("take `Box<{target}>` or `Arc<{target}>`"),
        (Type::Paren(inner), _) => format!("take `Box<{0}>` or `Arc<{0}>`", written(&inner.elem)),
        _ => format!("take `{target}`, or `Arc<{target}>` to share it"),
    }
}

// The options.

/// The options that there are, as the messages list them.
const OPTIONS: &str = "`cancellable`, `local`, `inline`, `blocking`, `buffer = N`, `overflow = drop_oldest`, \
                       `name = \"…\"`, `grace = limit` and `crate = path`";

pub(crate) fn not_an_option(found: &dyn ToTokens) -> Error {
    at(found, "this is not an option of `#[generator]`", format!("the options are {OPTIONS}"))
}

pub(crate) fn unknown_option(key: &Ident, nearest: Option<&str>) -> Error {
    let message = format!("`#[generator]` has no option `{key}`");
    match nearest {
        Some(nearest) => at(key, message, format!("write `{nearest}` (the options are {OPTIONS})")),
        None => at(key, message, format!("the options are {OPTIONS}")),
    }
}

pub(crate) fn duplicate_option(key: &Ident) -> Error {
    at(key, format!("the option `{key}` is given twice"), "remove one of the two")
}

pub(crate) fn flag_with_value(value: &dyn ToTokens, key: &Ident) -> Error {
    at(value, format!("`{key}` takes no value"), format!("write `{key}` alone, or remove it"))
}

pub(crate) fn option_without_value(key: &Ident, example: &str) -> Error {
    at(key, format!("`{key}` needs a value"), format!("write it as in `{example}`"))
}

pub(crate) fn option_in_parentheses(arguments: &dyn ToTokens, key: &Ident, example: &str) -> Error {
    at(arguments, format!("the value of `{key}` stands after a `=`"), format!("write it as in `{example}`"))
}

pub(crate) fn ill_typed_option(value: &dyn ToTokens, key: &Ident, what: &str, example: &str) -> Error {
    at(value, format!("`{key}` takes {what}"), format!("write it as in `{example}`"))
}

pub(crate) fn inline_with_buffer(buffer: &Ident) -> Error {
    let message = "an `inline` generator has no buffer: its body runs in its consumer, and never ahead of it";
    at(buffer, message, "remove `buffer`, or remove `inline`")
}

pub(crate) fn inline_with_overflow(overflow: &Ident) -> Error {
    let message =
        "an `inline` generator has no buffer that could overflow: its body never runs ahead of its consumer";
    at(overflow, message, "remove `overflow`, or remove `inline` and add a buffer, as in `buffer = 16`")
}

pub(crate) fn inline_with_name(name: &Ident) -> Error {
    let message = "an `inline` generator needs no name: it has no task, and no report lists it";
    at(name, message, "remove `name`, or remove `inline`")
}

pub(crate) fn inline_with_grace(grace: &Ident) -> Error {
    let message = "an `inline` generator has no clean-ups that could take time";
    at(grace, message, "remove `grace`, or remove `inline`")
}

pub(crate) fn inline_with_local(local: &Ident) -> Error {
    let message = "an `inline` generator has no task that could be `local`: its body runs in its consumer";
    at(local, message, "remove `local` (nothing of an `inline` generator need be `Send`), or remove `inline`")
}

pub(crate) fn blocking_with_grace(grace: &Ident) -> Error {
    let message = "a `blocking` generator has no clean-ups that could take time";
    at(grace, message, "remove `grace`, or remove `blocking` and write `async fn`")
}

pub(crate) fn blocking_with_local(local: &Ident) -> Error {
    let message = "a `blocking` generator cannot be `local`: its body runs on a thread of its own";
    at(local, message, "remove `local`, or remove `blocking` and write `async fn`")
}

pub(crate) fn blocking_with_inline(inline: &Ident) -> Error {
    let message = "a `blocking` generator cannot be `inline`: its body runs on a thread of its own";
    at(inline, message, "remove `inline`, or remove `blocking` and write `async fn`")
}

pub(crate) fn unknown_policy(word: &Ident) -> Error {
    let message = format!("there is no overflow policy `{word}`");
    at(word, message, "write `drop_oldest` or `drop_newest`")
}

pub(crate) fn overflow_without_buffer(overflow: &Ident) -> Error {
    let message = "`overflow` says what a full buffer drops, and there is no buffer";
    at(overflow, message, "add a buffer, as in `buffer = 16`, or remove `overflow`")
}

pub(crate) fn overflow_without_room(items: &Expr) -> Error {
    let message = "`overflow` says what a full buffer drops, and this one has no room for anything";
    at(items, message, "write `buffer = 1` or more, or remove `overflow`")
}

// The body.

pub(crate) fn no_yield(signature: &Signature, kind: Kind, context: Option<&str>) -> Error {
    let message = format!("the generator `{}` yields nothing", signature.ident);
    let context = context.unwrap_or("&Context::background()");
    let spawn = if kind == Kind::Local { "spawn_local" } else { "spawn" };
    let help = format!(
        "hand an item on with `yield_!(item);`\n\
         \x20     (for a stream that is meant to be empty, a plain `fn` can return\n\
         \x20     `Generator::builder().{spawn}({context}, |_, _| async {{}})`)"
    );
    at(&signature.ident, message, help)
}

pub(crate) fn no_checkpoint_elsewhere(attribute: &Attribute) -> Error {
    let help = "put it before the `loop`, `while` or `for` whose rounds are not to look at the end";
    at(attribute, "`#[no_checkpoint]` goes on a loop of the body", help)
}

pub(crate) fn no_checkpoint_with_value(attribute: &Attribute) -> Error {
    at(attribute, "`#[no_checkpoint]` takes no value", "write `#[no_checkpoint]`")
}

pub(crate) fn bare_yield(keyword: syn::Token![yield], value: Option<&dyn ToTokens>) -> Error {
    let value = value.map_or_else(|| "item".to_owned(), written);
    let help = format!("write `yield_!({value})`");
    at(
        keyword,
        "`yield` is a keyword that stable Rust does not have: a generator yields with `yield_!`",
        help,
    )
}

pub(crate) fn await_in_blocking(keyword: syn::Token![await]) -> Error {
    let message = "`.await` in a `blocking` generator: its body is plain code, on a thread of its own";
    let help = "remove `blocking` and write `async fn`, or wait with `Handle::current().block_on(..)`";
    at(keyword, message, help)
}

pub(crate) fn returns_value(value: &dyn ToTokens) -> Error {
    let message = "`return` ends a generator, and hands nothing on";
    at(value, message, format!("write `yield_!({}); return;`", written(value)))
}

pub(crate) fn question_mark(mark: syn::Token![?], item: &Type) -> Error {
    let may_be_alias = matches!(item, Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.arguments.is_none() && starts_upper(&last.ident)));
    let item = written(item);
    let or = if may_be_alias {
        format!(
            "\n\x20     (if `{item}` stands for a `Result`, write that out: an alias is not seen through)"
        )
    } else {
        String::new()
    };
    let message =
        format!("`?` hands an error on, and the items of this generator, `{item}`, are no `Result`s");
    let help = format!(
        "write the return type `Result<{item}, E>`, \
         or end the generator here, as in `let Ok(..) = .. else {{ return }};`{or}"
    );
    at(mark, message, help)
}

fn starts_upper(name: &Ident) -> bool {
    name.unraw().to_string().starts_with(char::is_uppercase)
}

pub(crate) fn tail_value(tail: &dyn ToTokens, fallible: bool) -> Error {
    let written = written(tail);
    let item = if fallible { format!("Ok({written})") } else { written };
    at(tail, "the last line of a generator hands nothing on", format!("write `yield_!({item});`"))
}

pub(crate) fn tail_ok(tail: &dyn ToTokens) -> Error {
    at(tail, "a generator ends without a value, also one of `Result`s", "remove this `Ok(())`")
}

pub(crate) fn tail_result(tail: &dyn ToTokens, fails: bool) -> Error {
    let message = "a generator ends without a value, also one of `Result`s";
    let help = if fails {
        format!("write `return {};`", written(tail))
    } else {
        format!("write `yield_!({});`", written(tail))
    };
    at(tail, message, help)
}
