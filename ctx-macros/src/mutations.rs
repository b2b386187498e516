//! The macro never panics, whatever it is handed: functions with some of their tokens taken out, doubled, swapped, or replaced by
//! those of others, as they are while somebody types. (An editor would go on without any expansion, and say so on every line.)

use crate::expand;
use proc_macro2::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// How many streams are tried.
const CASES: u32 = 10_000;

/// A function with all that the macro looks at.
pub(crate) const FUNCTION: &str = r#"
        /// Documented.
        #[cfg(unix)]
        #[instrument(skip_all)]
        pub(crate) async unsafe fn rows<'a: 'static, const N: usize, T: Send + 'static, U>(
            self: Arc<Self>,
            #[ctx] ctx: &Context,
            (mut a, _): (u8, Vec<Cow<'a, str>>),
            filter: impl for<'b> Fn(&'b T) -> bool + Send + 'static,
        ) -> io::Result<T> where T: Clone {
            #![allow(unused)]
            'outer: loop {
                let Some(row) = self.next().await? else { break 'outer };
                tokio::select! { () = ctx.done() => return, n = async { yield_!(Ok(row)) } => loop { wait().await } }
                let later = async move { yield_!(1) };
                tokio::spawn(later);
                fn nested() -> u8 { return 1; }
                let _a = defer!(a, async |a: u8| drop(shield!(b)));
                yield_all!(self.rows());
                if n % 2 == 0 { continue 'outer; }
            }
            Err(io::Error::other("end"))
        }
        "#;

/// One that blocks.
pub(crate) const BLOCKING: &str = r#"
        fn rows(#[ctx] ctx: &Context, mut file: File) -> io::Result<u8> {
            #[no_checkpoint]
            for byte in file.bytes() {
                yield_!(Ok(byte?));
                while let Ok(n) = byte { if n { continue } else { yield_!(Ok(n)) } }
                block_on(async { later().await });
            }
            return Err(io::Error::other("end"));
        }
        "#;

/// Options, and what they stand on.
const SOURCES: [(&str, &str); 6] = [
    (
        r#"cancellable, buffer = 2 * N, overflow = drop_newest, name = "rows", grace = LIMIT, crate = a::b"#,
        FUNCTION,
    ),
    ("blocking, cancellable", BLOCKING),
    (
        "cancellable, inline",
        r"
        async fn rows(&mut self, ctx: &Context, words: &[&str], keep: impl Fn(&str) -> bool) -> Cow<'_, str> {
            for word in words {
                match keep(word) { true => yield_!(Cow::Borrowed(word)), false => {} }
            }
        }
        ",
    ),
    (
        "local",
        "async fn shared(text: Rc<str>) -> Rc<str> { join!(async { yield_!(text.clone()) }, async {}); }",
    ),
    (
        "cancelable, bufer(3), 7",
        "const extern \"C\" fn rows<'a>(&'a self, filter: &str, ...) -> &'a Row { return 1; }",
    ),
    ("", "pub struct Rows<T>(T); || { yield_!(1) }"),
];

/// One change, at a place that `at` chooses.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Double,
    SwapWithNext,
    Cut,
    /// By a token of a source.
    Replace(usize),
    Insert(usize),
    /// Puts it into a group.
    Wrap(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Remove),
        Just(Change::Double),
        Just(Change::SwapWithNext),
        Just(Change::Cut),
        any::<usize>().prop_map(Change::Replace),
        any::<usize>().prop_map(Change::Insert),
        (0..4_u8).prop_map(Change::Wrap),
    ]
}

/// Every token of the sources, and some that are in none.
fn tokens_of_all() -> Vec<TokenTree> {
    fn gather(stream: TokenStream, all: &mut Vec<TokenTree>) {
        for token in stream {
            if let TokenTree::Group(group) = &token {
                gather(group.stream(), all);
            }
            all.push(token);
        }
    }
    let mut all = Vec::new();
    for (args, item) in SOURCES {
        gather(args.parse().unwrap(), &mut all);
        gather(item.parse().unwrap(), &mut all);
    }
    let words = ["yield", "try", "dyn", "_", "r#loop", "macro_rules", "const", "unsafe", "crate", "Self"];
    for word in words {
        all.extend(word.parse::<TokenStream>().unwrap());
    }
    all.extend(
        ['$', '@', '\\', '~', '#']
            .map(|mark| Punct::new(if mark == '\\' { '!' } else { mark }, Spacing::Alone).into()),
    );
    all.push(Ident::new("union", Span::call_site()).into());
    all
}

/// How many tokens there are, in groups too.
fn count(stream: &TokenStream) -> usize {
    let inside = |token: TokenTree| match token {
        TokenTree::Group(group) => 1 + count(&group.stream()),
        _ => 1,
    };
    stream.clone().into_iter().map(inside).sum()
}

/// Makes one change at the token of this number; `at` counts down to it.
fn changed(stream: TokenStream, at: &mut usize, change: &Change, all: &[TokenTree]) -> TokenStream {
    let mut new: Vec<TokenTree> = Vec::new();
    let mut tokens = stream.into_iter();
    while let Some(token) = tokens.next() {
        if *at > 0 {
            *at -= 1;
            new.push(match token {
                TokenTree::Group(group) => {
                    let inside = changed(group.stream(), at, change, all);
                    let mut changed = Group::new(group.delimiter(), inside);
                    changed.set_span(group.span());
                    changed.into()
                }
                other => other,
            });
            continue;
        }
        *at = usize::MAX;
        match change {
            Change::Remove => {}
            Change::Double => new.extend([token.clone(), token]),
            Change::SwapWithNext => {
                new.extend(tokens.next());
                new.push(token);
            }
            Change::Cut => break,
            Change::Replace(by) => new.push(all[by % all.len()].clone()),
            Change::Insert(more) => new.extend([all[more % all.len()].clone(), token]),
            Change::Wrap(kind) => {
                let delimiter = match kind {
                    0 => Delimiter::Brace,
                    1 => Delimiter::Bracket,
                    2 => Delimiter::Parenthesis,
                    _ => Delimiter::None,
                };
                new.push(Group::new(delimiter, token.into()).into());
            }
        }
    }
    new.into_iter().collect()
}

/// Fails for whatever panics or does not come back.
#[test]
fn whatever_it_is_handed_it_comes_back_with_something() {
    let all = tokens_of_all();
    let case = (
        0..SOURCES.len(),
        0..SOURCES.len(),
        prop::collection::vec((any::<bool>(), any::<usize>(), change()), 0..6),
    );
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&case, |(source, options, changes)| {
        let mut args: TokenStream = SOURCES[options].0.parse().unwrap();
        let mut item: TokenStream = SOURCES[source].1.parse().unwrap();
        for (of_args, at, change) in &changes {
            let stream = if *of_args { &mut args } else { &mut item };
            let tokens = count(stream);
            if tokens > 0 {
                *stream = changed(stream.clone(), &mut (at % tokens), change, &all);
            }
        }
        // What it makes is something to go on with: the item, or an error.
        let expansion = expand(args, item.clone());
        prop_assert!(!expansion.is_empty(), "{item}");
        Ok(())
    });
    outcome.unwrap();
}
