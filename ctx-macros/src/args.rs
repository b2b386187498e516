//! The options between the attribute's parentheses.

use crate::check::mentions;
use crate::errors::{self, Errors};
use crate::groups::Groups;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::visit_mut::VisitMut;
use syn::{Expr, Ident, Lit, Path, Token, UnOp, token};

/// What the options say. An option that is wrong counts as not given, but for one that says where the body runs.
#[derive(Default)]
pub(crate) struct Args {
    cancellable: Option<Span>,
    local: Option<Ident>,
    inline: Option<Ident>,
    blocking: Option<Ident>,
    buffer: Option<(Ident, Expr)>,
    overflow: Option<Policy>,
    overflow_key: Option<Ident>,
    name: Option<(Ident, Expr)>,
    grace: Option<(Ident, Expr)>,
    krate: Option<Path>,
    unsure: bool,
    is_empty: bool,
}

/// Where the body runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a task.
    Spawned,
    /// In a task that stays on its thread.
    Local,
    /// In its consumer.
    Inline,
    /// On a thread of its own.
    Blocking,
}

/// What a full buffer drops.
#[derive(Clone, Copy)]
pub(crate) enum Policy {
    DropOldest,
    DropNewest,
}

impl Policy {
    fn of(word: &str) -> Option<Self> {
        match word {
            DROP_OLDEST => Some(Self::DropOldest),
            DROP_NEWEST => Some(Self::DropNewest),
            _ => None,
        }
    }
}

impl Args {
    /// Where `cancellable` is said, if it is.
    pub(crate) fn cancellable(&self) -> Option<Span> {
        self.cancellable
    }

    /// Where several are said, which is a mistake, the one that leaves the others least to complain about.
    pub(crate) fn kind(&self) -> Kind {
        match (&self.inline, &self.blocking, &self.local) {
            (Some(_), ..) => Kind::Inline,
            (None, Some(_), _) => Kind::Blocking,
            (None, None, Some(_)) => Kind::Local,
            (None, None, None) => Kind::Spawned,
        }
    }

    /// Whether the body runs in its consumer.
    pub(crate) fn is_inline(&self) -> bool {
        self.kind() == Kind::Inline
    }

    /// The option `local` itself, where it is said.
    pub(crate) fn local_key(&self) -> Option<&Ident> {
        self.local.as_ref()
    }

    /// The option `inline` itself, where it is said.
    pub(crate) fn inline_key(&self) -> Option<&Ident> {
        self.inline.as_ref()
    }

    /// The option `blocking` itself, where it is said.
    pub(crate) fn blocking_key(&self) -> Option<&Ident> {
        self.blocking.as_ref()
    }

    pub(crate) fn buffer(&self) -> Option<&Expr> {
        self.buffer.as_ref().map(|(_, items)| items)
    }

    pub(crate) fn overflow(&self) -> Option<Policy> {
        self.overflow
    }

    /// Where `overflow` is said, if it is; what it says may be wrong.
    pub(crate) fn overflow_key(&self) -> Option<&Ident> {
        self.overflow_key.as_ref()
    }

    pub(crate) fn name(&self) -> Option<&Expr> {
        self.name.as_ref().map(|(_, name)| name)
    }

    pub(crate) fn grace(&self) -> Option<&Expr> {
        self.grace.as_ref().map(|(_, limit)| limit)
    }

    /// The option `buffer` itself, where it is said.
    pub(crate) fn buffer_key(&self) -> Option<&Ident> {
        self.buffer.as_ref().map(|(key, _)| key)
    }

    /// The option `name` itself, where it is said.
    pub(crate) fn name_key(&self) -> Option<&Ident> {
        self.name.as_ref().map(|(key, _)| key)
    }

    /// The option `grace` itself, where it is said.
    pub(crate) fn grace_key(&self) -> Option<&Ident> {
        self.grace.as_ref().map(|(key, _)| key)
    }

    /// Whether the option `inline` could be added.
    pub(crate) fn may_be_inline(&self) -> bool {
        let without = self.buffer.is_none()
            && self.overflow_key.is_none()
            && self.name.is_none()
            && self.grace.is_none();
        without && self.kind() == Kind::Spawned
    }

    /// Whether the option `blocking` could be added.
    pub(crate) fn may_be_blocking(&self) -> bool {
        self.grace.is_none() && self.kind() == Kind::Spawned
    }

    /// Whether the value of an option has this name in it.
    pub(crate) fn mentions(&self, name: &Ident) -> bool {
        [self.buffer(), self.name(), self.grace()]
            .into_iter()
            .flatten()
            .any(|value| mentions(value.to_token_stream(), &name.to_string()))
    }

    /// The path to `ctx-runtime`, if it is not the usual one.
    pub(crate) fn krate(&self) -> Option<&Path> {
        self.krate.as_ref()
    }

    /// Whether the attribute stands alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether something among the options was not understood; it may have been meant as `cancellable`.
    pub(crate) fn unsure(&self) -> bool {
        self.unsure
    }
}

/// Reads the options, and goes on after one that is wrong.
pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Args {
    let mut args = Args { is_empty: tokens.is_empty(), ..Args::default() };
    let parser = |input: ParseStream<'_>| {
        while !input.is_empty() {
            option(input, &mut args, errors)?;
            if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                args.unsure = true;
                errors.push(input.error("expected `,` between two options"));
                skip_to_comma(input)?;
                input.parse::<Option<Token![,]>>()?;
            }
        }
        Ok(())
    };
    if let Err(error) = parser.parse2(tokens) {
        args.unsure = true;
        errors.push(error);
    }
    args
}

const CANCELLABLE: &str = "cancellable";
const LOCAL: &str = "local";
const INLINE: &str = "inline";
const BLOCKING: &str = "blocking";
const BUFFER: &str = "buffer";
const OVERFLOW: &str = "overflow";
const DROP_OLDEST: &str = "drop_oldest";
const DROP_NEWEST: &str = "drop_newest";
const NAME: &str = "name";
const GRACE: &str = "grace";
const CRATE: &str = "crate";

/// What the value of an option can be. Only a literal shows its type: for other expressions rustc does the check.
struct Takes {
    what: &'static str,
    example: &'static str,
    accepts: fn(&Expr) -> bool,
}

const NUMBER_OF_ITEMS: Takes = Takes {
    what: "a number of items",
    example: "buffer = 16",
    accepts: |value| match value {
        Expr::Lit(literal) => matches!(literal.lit, Lit::Int(_)),
        Expr::Unary(negative) => !matches!(negative.op, UnOp::Neg(_)),
        _ => true,
    },
};

const POLICY: Takes = Takes {
    what: "the word `drop_oldest` or `drop_newest`",
    example: "overflow = drop_oldest",
    accepts: |value| word(value).is_some(),
};

const TEXT: Takes = Takes {
    what: "a string",
    example: "name = \"rows\"",
    accepts: |value| match value {
        Expr::Lit(literal) => matches!(literal.lit, Lit::Str(_)),
        _ => true,
    },
};

const DURATION: Takes = Takes {
    what: "a duration",
    example: "grace = Duration::from_secs(5)",
    accepts: |value| match value {
        Expr::Unary(negative) => !matches!(negative.op, UnOp::Neg(_)),
        _ => !matches!(value, Expr::Lit(_)),
    },
};

const PATH: Takes = Takes {
    what: "the path to `ctx_runtime`, without quotes",
    example: "crate = path::to::ctx_runtime",
    accepts: |value| matches!(value, Expr::Path(path) if path.qself.is_none() && path.attrs.is_empty()),
};

fn option(input: ParseStream<'_>, args: &mut Args, errors: &mut Errors) -> syn::Result<()> {
    let faults = &mut |error| {
        args.unsure = true;
        errors.push(error);
    };
    if !input.peek(Ident::peek_any) {
        faults(errors::not_an_option(&input.parse::<TokenTree>()?));
        return skip_to_comma(input);
    }
    let key = input.call(Ident::parse_any)?;
    match key.to_string().as_str() {
        CANCELLABLE => {
            flag(input, &key, faults)?;
            set(&mut args.cancellable, &key, Some(key.span()), faults);
        }
        LOCAL => {
            flag(input, &key, faults)?;
            set(&mut args.local, &key, Some(key.clone()), faults);
        }
        INLINE => {
            flag(input, &key, faults)?;
            set(&mut args.inline, &key, Some(key.clone()), faults);
        }
        BLOCKING => {
            flag(input, &key, faults)?;
            set(&mut args.blocking, &key, Some(key.clone()), faults);
        }
        BUFFER => {
            let items = value(input, &key, &NUMBER_OF_ITEMS, faults)?;
            set(&mut args.buffer, &key, items.map(|items| (key.clone(), items)), faults);
        }
        OVERFLOW => {
            // What is wrong with it cannot have been meant as another option.
            let faults = &mut |error| errors.push(error);
            let policy = value(input, &key, &POLICY, faults)?;
            let policy = policy.as_ref().and_then(word).and_then(|word| policy_of(word, faults));
            if args.overflow_key.is_none() {
                args.overflow = policy;
            }
            set(&mut args.overflow_key, &key, Some(key.clone()), faults);
        }
        NAME => {
            let name = value(input, &key, &TEXT, faults)?;
            set(&mut args.name, &key, name.map(|name| (key.clone(), name)), faults);
        }
        GRACE => {
            let limit = value(input, &key, &DURATION, faults)?;
            set(&mut args.grace, &key, limit.map(|limit| (key.clone(), limit)), faults);
        }
        CRATE => {
            let path = match value(input, &key, &PATH, faults)? {
                Some(Expr::Path(path)) => Some(path.path),
                _ => None,
            };
            set(&mut args.krate, &key, path, faults);
        }
        unknown => {
            let nearest = nearest(unknown);
            faults(errors::unknown_option(&key, nearest));
            skip_to_comma(input)?;
            // Where the body runs is known for all that: the rules that depend on it are not to make mistakes of this one.
            match nearest {
                Some(LOCAL) => args.local = Some(key),
                Some(INLINE) => args.inline = Some(key),
                Some(BLOCKING) => args.blocking = Some(key),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The value of an option that is a single word.
fn word(value: &Expr) -> Option<&Ident> {
    match value {
        Expr::Path(path) if path.qself.is_none() && path.attrs.is_empty() => path.path.get_ident(),
        // A macro's `$word`.
        Expr::Group(group) => word(&group.expr),
        _ => None,
    }
}

/// Checks that a policy is one that there is.
fn policy_of(word: &Ident, faults: &mut dyn FnMut(syn::Error)) -> Option<Policy> {
    let policy = Policy::of(&word.to_string());
    if policy.is_none() {
        faults(errors::unknown_policy(word));
    }
    policy
}

/// Checks that an option is given once.
fn set<T>(slot: &mut Option<T>, key: &Ident, value: Option<T>, faults: &mut dyn FnMut(syn::Error)) {
    if slot.is_some() {
        faults(errors::duplicate_option(key));
    } else {
        *slot = value;
    }
}

/// Checks that an option that is on or off stands alone.
fn flag(input: ParseStream<'_>, key: &Ident, faults: &mut dyn FnMut(syn::Error)) -> syn::Result<()> {
    if !input.is_empty() && !input.peek(Token![,]) {
        let value = rest_of_option(input)?;
        faults(errors::flag_with_value(&value, key));
    }
    Ok(())
}

/// Checks that an option has a value, after a `=`, and of the right kind.
fn value(
    input: ParseStream<'_>,
    key: &Ident,
    takes: &Takes,
    faults: &mut dyn FnMut(syn::Error),
) -> syn::Result<Option<Expr>> {
    if input.peek(token::Paren) {
        let arguments = rest_of_option(input)?;
        faults(errors::option_in_parentheses(&arguments, key, takes.example));
        return Ok(None);
    }
    if input.parse::<Option<Token![=]>>()?.is_none() || input.is_empty() || input.peek(Token![,]) {
        faults(errors::option_without_value(key, takes.example));
        skip_to_comma(input)?;
        return Ok(None);
    }
    match input.parse::<Expr>() {
        Ok(mut value) if (takes.accepts)(&value) => {
            Groups.visit_expr_mut(&mut value);
            return Ok(Some(value));
        }
        Ok(value) => faults(errors::ill_typed_option(&value, key, takes.what, takes.example)),
        Err(error) => {
            faults(error);
            skip_to_comma(input)?;
        }
    }
    Ok(None)
}

fn rest_of_option(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut rest = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        rest.extend([input.parse::<TokenTree>()?]);
    }
    Ok(rest)
}

fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    rest_of_option(input).map(drop)
}

/// The option that `unknown` is most likely a misspelling of.
fn nearest(unknown: &str) -> Option<&'static str> {
    let options = [CANCELLABLE, LOCAL, INLINE, BLOCKING, BUFFER, OVERFLOW, NAME, GRACE, CRATE];
    if let Some(option) = options.iter().find(|option| unknown.len() > 2 && option.starts_with(unknown)) {
        return Some(option);
    }
    options
        .into_iter()
        .map(|option| (distance(unknown, option), option))
        .filter(|&(distance, option)| distance <= option.len() / 3 + 1 && distance < option.len() - 1)
        .min()
        .map(|(_, option)| option)
}

/// The number of letters to insert, remove or replace (Levenshtein, row by row).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn messages(tokens: TokenStream) -> String {
        let mut errors = Errors::default();
        parse(tokens, &mut errors);
        errors.into_compile_errors().to_string()
    }

    #[test]
    fn every_option_is_read_in_any_order() {
        let mut errors = Errors::default();
        let args = parse(
            quote!(
                name = "rows",
                inline,
                crate = some::path,
                local,
                overflow = drop_newest,
                buffer = 2 * N,
                grace = LIMIT,
                blocking,
                cancellable,
            ),
            &mut errors,
        );
        assert!(errors.is_empty());
        assert!(
            args.cancellable().is_some()
                && args.local_key().is_some()
                && args.inline_key().is_some()
                && args.blocking_key().is_some()
                && args.grace().is_some()
                && args.buffer().is_some()
                && matches!(args.overflow(), Some(Policy::DropNewest))
                && args.name().is_some()
                && args.krate().is_some()
        );
        assert!(!args.unsure());
    }

    #[test]
    fn an_option_that_is_wrong_does_not_hide_the_next() {
        let found = messages(quote!(
            buffer = "two",
            7,
            nmae = "rows",
            cancellable = true,
            cancellable,
            name("x"),
            overflow = drop_last,
            overflow = "drop_newest",
            crate
        ));
        for part in [
            "`buffer` takes a number",
            "not an option",
            "write `name`",
            "takes no value",
            "`cancellable` is given twice",
            "after a `=`",
            "no overflow policy `drop_last`",
            "`overflow` takes the word",
            "`overflow` is given twice",
            "`crate` needs a value",
        ] {
            assert!(found.contains(part), "{part} is not in {found}");
        }
    }

    #[test]
    fn a_misspelling_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("cancelable"), Some("cancellable"));
        assert_eq!(nearest("cancel"), Some("cancellable"));
        assert_eq!(nearest("ca"), None);
        assert_eq!(nearest("buffers"), Some("buffer"));
        assert_eq!(nearest("krate"), Some("crate"));
        assert_eq!(nearest("overflows"), Some("overflow"));
        assert_eq!(nearest("inlined"), Some("inline"));
        assert_eq!(nearest("block"), Some("blocking"));
        assert_eq!(nearest("remote"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn the_distance_counts_letters() {
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("kitten", "sitting")), (3, 0, 3));
    }
}
