//! Which macros a body calls, as far as its tokens tell, and what is known of those of others.

use crate::args::Kind;
use crate::words::Word;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Ident, Path, Stmt};

/// The macros of the body that it calls, or that a macro of others may call.
pub(super) fn words(body: &[Stmt], kind: Kind) -> Vec<Word> {
    let mut called = Called::default();
    for statement in body {
        called.look_at(statement.to_token_stream());
    }
    let is_needed = |word: &Word| {
        let is_there = match kind {
            Kind::Spawned | Kind::Local => true,
            Kind::Inline => word.yields(),
            Kind::Blocking => false,
        };
        *word == Word::Yield || is_there && (called.others || called.words.contains(word))
    };
    Word::ALL.into_iter().filter(is_needed).collect()
}

#[derive(Default)]
struct Called {
    words: Vec<Word>,
    /// A macro that may call any of them.
    others: bool,
}

impl Called {
    fn look_at(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.look_at(group.stream()),
                TokenTree::Ident(name) => {
                    let word = Word::ALL.into_iter().find(|word| name == word.name());
                    self.words.extend(word);
                    let bang = tokens
                        .next_if(|next| matches!(next, TokenTree::Punct(bang) if bang.as_char() == '!'));
                    let calls = bang.is_some() && matches!(tokens.peek(), Some(TokenTree::Group(_)));
                    self.others |= calls && word.is_none() && !brings_nothing(&name);
                }
                _ => {}
            }
        }
    }
}

/// Whether a macro of this name, as it is known, calls no macro of the body that is not among its arguments.
fn brings_nothing(name: &Ident) -> bool {
    const KNOWN: &[&str] = &[
        "debug",
        "error",
        "info",
        "join",
        "pin",
        "select",
        "todo",
        "trace",
        "try_join",
        "unimplemented",
        "warn",
    ];
    STD.iter().chain(KNOWN).any(|known| name == known)
}

/// The macros of std that hide no yield.
const STD: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "column",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "env",
    "eprint",
    "eprintln",
    "file",
    "format",
    "format_args",
    "include_bytes",
    "include_str",
    "line",
    "matches",
    "module_path",
    "option_env",
    "panic",
    "print",
    "println",
    "stringify",
    "thread_local",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// Whether a macro is one of std's that hide no yield. `todo!` and its like stand where one is still to be written.
pub(crate) fn is_std(path: &Path) -> bool {
    let mut segments = path.segments.iter().map(|segment| &segment.ident);
    let (first, last) = (segments.next(), segments.next_back());
    let from_std = match last {
        None => true,
        Some(_) => first.is_some_and(|first| ["std", "core", "alloc"].iter().any(|name| first == name)),
    };
    from_std && last.or(first).is_some_and(|name| STD.iter().any(|known| name == known))
}

/// Whether a yield is among the tokens, in a block of its own or not.
pub(crate) fn mentions_yield(tokens: TokenStream) -> bool {
    let yields = |token: &Ident| Word::ALL.iter().any(|word| word.yields() && token == word.name());
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_yield(group.stream()),
        TokenTree::Ident(token) => yields(&token),
        _ => false,
    })
}

/// Whether a word is among the tokens.
pub(crate) fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Ident(word) => word == name,
        _ => false,
    })
}
