//! The catalogue's part on the body's own macros: where one stands, and what it is given.

use super::{at, written};
use crate::args::Kind;
use crate::words::Word;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Error, Ident, Path};

pub(crate) fn word_in_closure(path: &Path, word: Word) -> Error {
    let (name, Words { given, alone, .. }) = (word.name(), words(word));
    let message = format!("`{name}!` in a closure: only the generator's own code can {alone}");
    let help = format!(
        "write a loop in place of the closure, or let it return the {given} and `{name}!` what it returns"
    );
    at(path, message, help)
}

pub(crate) fn word_in_function(path: &Path, word: Word, function: Option<&Ident>) -> Error {
    let (name, Words { given, alone, .. }) = (word.name(), words(word));
    let message = format!("`{name}!` in a function of its own: only the generator's own code can {alone}");
    let function = function.map_or_else(|| "the function".to_owned(), |function| format!("`{function}`"));
    let or = if word.yields() && function.starts_with('`') { ", or give it a `#[generator]`" } else { "" };
    at(path, message, format!("let {function} return the {given} and `{name}!` what it returns{or}"))
}

pub(crate) fn word_in_spawn(path: &Path, word: Word, spawn: &Ident, kind: Kind) -> Error {
    let message = format!("`{}!` in what `{spawn}` is given: it may outlive the generator", word.name());
    let help = match word {
        Word::Yield | Word::YieldAll if kind == Kind::Blocking => {
            "send from it over a channel, and `yield_!` what arrives"
        }
        Word::Yield | Word::YieldAll => {
            "await it in the body (with `join!` for several at once), \
             or send from it over a channel and `yield_!` what arrives"
        }
        Word::Shield => "await it in the body, all of it in a `shield!`",
        Word::Defer => "write the `defer!` into the body, before it",
    };
    at(path, message, help)
}

pub(crate) fn yield_spawned(block: &Ident, spawn: &Ident) -> Error {
    let message = format!("`{block}` yields, and what `{spawn}` is given may outlive the generator");
    let help = "await it in the body (with `join!` for several at once), \
                or send from it over a channel and `yield_!` what arrives";
    at(block, message, help)
}

pub(crate) fn word_in_defer(path: &Path, word: Word) -> Error {
    let name = word.name();
    let message = format!("`{name}!` in what `defer!` is given: that runs when the body is gone");
    let help = match word {
        Word::Yield | Word::YieldAll => format!("move this `{name}!` out of the `defer!`"),
        Word::Shield => {
            "await the future itself: nothing but the time for clean-ups (`grace`) ends one".to_owned()
        }
        Word::Defer => "move this one out, and before the other: the last one runs first".to_owned(),
    };
    at(path, message, help)
}

pub(crate) fn word_in_inline(path: &Path, word: Word) -> Error {
    let name = word.name();
    let (why, or) = match word {
        Word::Defer => ("no task runs a clean-up when its body is gone", "clean up in the `Drop` of a value"),
        _ => ("when its consumer is gone, nobody runs the section to its end", "await the future itself"),
    };
    at(path, format!("`{name}!` in an `inline` generator: {why}"), format!("remove `inline`, or {or}"))
}

pub(crate) fn word_in_blocking(path: &Path, word: Word, given: &TokenStream) -> Error {
    let name = word.name();
    let (why, help) = match word {
        Word::Yield | Word::YieldAll => {
            let given = if given.is_empty() { "items".to_owned() } else { written(given) };
            let why = "a stream is awaited, and its body is not `async`";
            let help = format!(
                "write `for item in {given} {{ yield_!(item); }}`, or, if that is a generator,\n\
                 \x20     `while let Some(item) = items.blocking_next() {{ yield_!(item); }}`"
            );
            (why, help)
        }
        Word::Shield => (
            "nothing interrupts its body between two yields",
            "remove `shield!`, and call what it does".to_owned(),
        ),
        Word::Defer => {
            let help = "clean up in the `Drop` of a value, or remove `blocking` and write `async fn`";
            ("no task runs a clean-up when its body is gone", help.to_owned())
        }
    };
    at(path, format!("`{name}!` in a `blocking` generator: {why}"), help)
}

pub(crate) fn yield_in_blocking_closure(path: &Path) -> Error {
    let message =
        "`yield_!` in a closure: it ends the body when the generator is stopped, and here it could not";
    let help = "write a loop in place of the closure, or start the generator without the attribute, with\n\
                \x20     `Generator::builder().spawn_blocking(ctx, |ctx, co| ..)`, whose `co.yield_(item)` returns a `Result`";
    at(path, message, help)
}

pub(crate) fn yield_in_async_block(path: &Path) -> Error {
    let message =
        "`yield_!` in an async block: it ends the body when the generator is stopped, and here it could not";
    at(
        path,
        message,
        "let the block return the item and `yield_!` what it returns, or remove `blocking` and write `async fn`",
    )
}

pub(crate) fn word_without_argument(path: &Path, word: Word) -> Error {
    let (name, Words { given, example, .. }) = (word.name(), words(word));
    at(
        path,
        format!("`{name}!` needs a {given}").replace(" a i", " an i"),
        format!("write it as in `{example}`"),
    )
}

pub(crate) fn word_with_more_arguments(more: &dyn ToTokens, word: Word) -> Error {
    let (name, Words { given, each, .. }) = (word.name(), words(word));
    let takes = match word {
        Word::Defer => "a clean-up, or a value and its clean-up".to_owned(),
        _ => format!("one {given}"),
    };
    at(more, format!("`{name}!` takes {takes}"), format!("write a `{name}!` for each{each}"))
}

/// What the messages say of one of the body's macros.
struct Words {
    /// What it is given.
    given: &'static str,
    /// What only the generator's own code can do.
    alone: &'static str,
    example: &'static str,
    /// What else can be done with several.
    each: &'static str,
}

fn words(word: Word) -> Words {
    let (given, alone, example, each) = match word {
        Word::Yield => ("item", "yield", "yield_!(item)", ", or yield a tuple"),
        Word::YieldAll => ("stream", "yield", "yield_all!(rows(table))", ""),
        Word::Shield => (
            "future",
            "be shielded",
            "shield!(file.sync_all())",
            ", or one around an async block with all of it",
        ),
        Word::Defer => ("clean-up", "defer", "defer!(async move { .. })", " value"),
    };
    Words { given, alone, example, each }
}
