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
use crate::arguments::{self, runs_in_place};
use crate::check::{Generator, is_no_checkpoint, mentions_yield};
use crate::words::Word;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::mem;
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, Expr, ExprAsync, ExprAwait, ExprClosure, ExprForLoop, ExprLoop, ExprWhile, Item, Label,
    Macro, Stmt, parse_quote_spanned,
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

    /// Whether a loop has rounds that are to look at the end, and do not by themselves. `head` is what is evaluated in each. Its mark,
    /// `#[no_checkpoint]`, is taken off.
    fn needs(
        &self,
        attrs: &mut Vec<Attribute>,
        head: Option<&Expr>,
        label: Option<&Label>,
        body: &Block,
    ) -> bool {
        let is_off = take_marks(attrs);
        let mut waits = Waits(false);
        if let Some(head) = head {
            waits.visit_expr(head);
        }
        waits.visit_block(body);
        !is_off && self.is_own && waits.0 && !rounds::all_yield(head, label, body)
    }

    /// What a round is to begin with.
    fn checkpoint(&self, keyword: Span) -> Stmt {
        let span = Span::mixed_site().located_at(keyword);
        if self.kind == Kind::Blocking {
            return parse_quote_spanned!(span=> if let ::core::result::Result::Err(_) = co.checkpoint() { break 'body; });
        }
        parse_quote_spanned!(span=> co.checkpoint().await;)
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
}

impl VisitMut for Checkpoints {
    // Each is looked at before the loops within it, as a checkpoint there would be an `.await` of its own.
    fn visit_expr_loop_mut(&mut self, found: &mut ExprLoop) {
        let needs = self.needs(&mut found.attrs, None, found.label.as_ref(), &found.body);
        visit_mut::visit_expr_loop_mut(self, found);
        if needs {
            found.body.stmts.insert(0, self.checkpoint(found.loop_token.span));
        }
    }

    fn visit_expr_while_mut(&mut self, found: &mut ExprWhile) {
        let needs = self.needs(&mut found.attrs, Some(&found.cond), found.label.as_ref(), &found.body);
        visit_mut::visit_expr_while_mut(self, found);
        if needs {
            found.body.stmts.insert(0, self.checkpoint(found.while_token.span));
        }
    }

    fn visit_expr_for_loop_mut(&mut self, found: &mut ExprForLoop) {
        let needs = self.needs(&mut found.attrs, None, found.label.as_ref(), &found.body);
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
            arguments::rewrite(mac, &mut |argument| self.visit_expr_mut(argument));
        }
    }

    fn visit_item_mut(&mut self, _: &mut Item) {}
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
