//! A look at the end in each round of a loop that could go without one (G13).
//!
//! A loop is looked at if it is the body's own code and waits: with a `yield_!` or another of the body's macros, an `.await`, a `select!`
//! or a `join!`. What runs in the body but in a block or closure of its own is known to be the body's code if it yields; what only awaits
//! may have been made for a task. A loop that does not wait is plain synchronous code, where no `.await` may be put.
//!
//! Where [each way round](super::rounds) comes by a `yield_!` nothing is added, as that looks at the end itself. An `.await` does not: what
//! it awaits may always be ready. Else the round begins with a checkpoint, which stands at the loop's keyword: rustc complains there
//! if something that is not `Send` is held across it.
//!
//! Macros keep their tokens, but for the loops in those that are known to run what they are given in place.

use super::rounds;
use crate::args::Kind;
use crate::check::{Generator, is_no_checkpoint, mentions_yield};
use crate::words::Word;
use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::mem;
use syn::parse::{ParseStream, Parser};
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, Expr, ExprAsync, ExprAwait, ExprClosure, ExprForLoop, ExprLoop, ExprWhile, Item, Label,
    Macro, Path, Stmt, Token, parse_quote_spanned,
};

// Input:
//
//     loop {
//         if let Some(row) = find(ctx).await {
//             yield_!(row);
//         }
//     }
//
// Output:
//
//     loop {
//         co.checkpoint().await;
//         if let Some(row) = find(ctx).await {
//             yield_!(row);
//         }
//     }
//
// With `blocking`, `if let ::core::result::Result::Err(_) = co.checkpoint() { break 'body; }`.
pub(super) struct Checkpoints {
    kind: Kind,
    /// Whether this is the body's own code.
    is_own: bool,
}

impl Checkpoints {
    pub(super) fn new(generator: &Generator) -> Self {
        Self { kind: generator.args().kind(), is_own: true }
    }

    fn within(&mut self, is_own: bool, walk: impl FnOnce(&mut Self)) {
        let outside = mem::replace(&mut self.is_own, is_own);
        walk(self);
        self.is_own = outside;
    }

    /// Whether a block of its own runs in the body: so it does if it yields.
    fn owns(&self, block: TokenStream) -> bool {
        self.kind != Kind::Blocking && mentions_yield(block)
    }

    /// Whether a loop has rounds that do not look at the end by themselves. `head` is what is evaluated in each.
    fn needs(&self, head: Option<&Expr>, label: Option<&Label>, body: &Block) -> bool {
        let mut waits = Waits(false);
        if let Some(head) = head {
            waits.visit_expr(head);
        }
        waits.visit_block(body);
        self.is_own && waits.0 && !rounds::all_yield(head, label, body)
    }

    /// What a round is to begin with.
    fn checkpoint(&self, keyword: Span) -> Stmt {
        let span = Span::mixed_site().located_at(keyword);
        if self.kind == Kind::Blocking {
            return parse_quote_spanned!(span=> if let ::core::result::Result::Err(_) = co.checkpoint() { break 'body; });
        }
        parse_quote_spanned!(span=> co.checkpoint().await;)
    }

    /// Sees to the loops among the tokens of a macro that runs them in place.
    fn tokens(&mut self, tokens: TokenStream) -> TokenStream {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut seen = TokenStream::new();
        let mut before = Before::default();
        let mut position = 0;
        while let Some(token) = tokens.get(position) {
            let found = if before.is_closure() { None } else { a_loop_in(&tokens[position..]) };
            if let Some((mut found, length)) = found {
                self.visit_expr_mut(&mut found);
                found.to_tokens(&mut seen);
                (position, before) = (position + length, Before::default());
                continue;
            }
            seen.extend([match token {
                TokenTree::Group(group) => TokenTree::Group(self.group(group, &before)),
                _ => token.clone(),
            }]);
            before.push(token);
            position += 1;
        }
        seen
    }

    fn group(&mut self, group: &Group, before: &Before) -> Group {
        let is_own = match before {
            _ if before.is_async() => self.owns(group.stream()),
            _ if before.is_closure() => false,
            _ => self.is_own,
        };
        let mut inside = TokenStream::new();
        self.within(is_own, |walk| inside = walk.tokens(group.stream()));
        let mut new = Group::new(group.delimiter(), inside);
        new.set_span(group.span());
        new
    }
}

/// The two tokens before one; of each, its text, if it is no group.
#[derive(Default)]
struct Before(String, String);

impl Before {
    fn push(&mut self, token: &TokenTree) {
        let text = match token {
            TokenTree::Group(_) => String::new(),
            other => other.to_string(),
        };
        self.0 = mem::replace(&mut self.1, text);
    }

    /// Whether a block is `async`.
    fn is_async(&self) -> bool {
        self.1 == "async" || self.1 == "move" && self.0 == "async"
    }

    /// Whether an expression is what a closure returns, most likely.
    fn is_closure(&self) -> bool {
        self.1 == "|"
    }
}

/// The loop that the tokens begin with, and how many of them it takes.
fn a_loop_in(tokens: &[TokenTree]) -> Option<(Expr, usize)> {
    let may_begin = match &tokens[0] {
        TokenTree::Ident(word) => ["loop", "while", "for"].iter().any(|keyword| word == keyword),
        // Of a label, or of an attribute.
        TokenTree::Punct(mark) => ['\'', '#'].contains(&mark.as_char()),
        _ => false,
    };
    let found = may_begin.then(|| a_loop.parse2(tokens.iter().cloned().collect()))?;
    found.ok().map(|(found, after)| (found, tokens.len() - after.into_iter().count()))
}

fn a_loop(input: ParseStream<'_>) -> syn::Result<(Expr, TokenStream)> {
    let head = input.fork();
    head.call(Attribute::parse_outer)?;
    head.parse::<Option<Label>>()?;
    let found = if head.peek(Token![loop]) {
        Expr::Loop(input.parse()?)
    } else if head.peek(Token![while]) {
        Expr::While(input.parse()?)
    } else {
        Expr::ForLoop(input.parse()?)
    };
    Ok((found, input.parse()?))
}

impl VisitMut for Checkpoints {
    // Each is looked at before the loops within it, as a checkpoint there would be an `.await` of its own.
    fn visit_expr_loop_mut(&mut self, found: &mut ExprLoop) {
        let is_off = take_marks(&mut found.attrs);
        let needs = !is_off && self.needs(None, found.label.as_ref(), &found.body);
        visit_mut::visit_expr_loop_mut(self, found);
        if needs {
            found.body.stmts.insert(0, self.checkpoint(found.loop_token.span));
        }
    }

    fn visit_expr_while_mut(&mut self, found: &mut ExprWhile) {
        let is_off = take_marks(&mut found.attrs);
        let needs = !is_off && self.needs(Some(&found.cond), found.label.as_ref(), &found.body);
        visit_mut::visit_expr_while_mut(self, found);
        if needs {
            found.body.stmts.insert(0, self.checkpoint(found.while_token.span));
        }
    }

    fn visit_expr_for_loop_mut(&mut self, found: &mut ExprForLoop) {
        let is_off = take_marks(&mut found.attrs);
        let needs = !is_off && self.needs(None, found.label.as_ref(), &found.body);
        visit_mut::visit_expr_for_loop_mut(self, found);
        if needs {
            found.body.stmts.insert(0, self.checkpoint(found.for_token.span));
        }
    }

    fn visit_expr_async_mut(&mut self, block: &mut ExprAsync) {
        let is_own = self.owns(block.block.to_token_stream());
        self.within(is_own, |walk| walk.visit_block_mut(&mut block.block));
    }

    fn visit_expr_closure_mut(&mut self, closure: &mut ExprClosure) {
        let is_own = closure.asyncness.is_some() && self.owns(closure.body.to_token_stream());
        self.within(is_own, |walk| walk.visit_expr_mut(&mut closure.body));
    }

    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        let word = Word::called_by(&mac.path);
        if word.is_some_and(|word| word != Word::Defer) || runs_in_place(&mac.path) {
            mac.tokens = self.tokens(mem::take(&mut mac.tokens));
        }
    }

    fn visit_item_mut(&mut self, _: &mut Item) {}
}

/// Whether a macro of this name, as it is known, runs what it is given where it stands.
fn runs_in_place(path: &Path) -> bool {
    let known = ["select", "join", "try_join"];
    path.segments.last().is_some_and(|last| known.iter().any(|name| last.ident == name))
}

/// Takes `#[no_checkpoint]` off. Tells whether it was there.
fn take_marks(attrs: &mut Vec<Attribute>) -> bool {
    let before = attrs.len();
    attrs.retain(|attribute| !is_no_checkpoint(attribute));
    attrs.len() < before
}

/// Whether something waits in a loop.
struct Waits(bool);

impl<'ast> Visit<'ast> for Waits {
    fn visit_expr_await(&mut self, _: &'ast ExprAwait) {
        self.0 = true;
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        let is_word = Word::called_by(&mac.path).is_some_and(|word| word != Word::Defer);
        self.0 |= is_word || runs_in_place(&mac.path) || wait_among(mac.tokens.clone());
    }

    // Code of its own.
    fn visit_expr_async(&mut self, _: &'ast ExprAsync) {}
    fn visit_expr_closure(&mut self, _: &'ast ExprClosure) {}
    fn visit_item(&mut self, _: &'ast Item) {}
}

/// Whether something waits among a macro's tokens, but for the blocks in it that are `async`.
fn wait_among(tokens: TokenStream) -> bool {
    let mut before = Before::default();
    tokens.into_iter().any(|token| {
        let waits = match &token {
            TokenTree::Group(group) => !before.is_async() && wait_among(group.stream()),
            TokenTree::Ident(word) if word == "await" => before.1 == ".",
            TokenTree::Ident(word) => Word::ALL.iter().any(|known| known.yields() && word == known.name()),
            _ => false,
        };
        before.push(&token);
        waits
    })
}
