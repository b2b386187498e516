//! What a macro's `$e:expr` brings stays one operand.
//!
//! Such an expression comes in an invisible group, and rustc forgets those of what an attribute hands back
//! (<https://github.com/rust-lang/rust/issues/67062>): with `1 + 2` for `$e`, `$e * 2` would be `1 + 2 * 2`. So it gets parentheses
//! where it is an operand.

use crate::arguments;
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use std::mem;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprParen, Macro, token};

// Input:  ∅ 1 + 2 ∅ * 2
// Output: (1 + 2) * 2
pub(crate) struct Groups;

impl VisitMut for Groups {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        visit_mut::visit_expr_mut(self, expr);
        match expr {
            Expr::Binary(expr) => {
                parenthesize(&mut expr.left);
                parenthesize(&mut expr.right);
            }
            Expr::Range(expr) => {
                expr.start.iter_mut().chain(&mut expr.end).for_each(|end| parenthesize(end));
            }
            Expr::Await(expr) => parenthesize(&mut expr.base),
            Expr::Call(expr) => parenthesize(&mut expr.func),
            Expr::Cast(expr) => parenthesize(&mut expr.expr),
            Expr::Field(expr) => parenthesize(&mut expr.base),
            Expr::Index(expr) => parenthesize(&mut expr.expr),
            Expr::Let(expr) => parenthesize(&mut expr.expr),
            Expr::MethodCall(expr) => parenthesize(&mut expr.receiver),
            Expr::Reference(expr) => parenthesize(&mut expr.expr),
            Expr::Try(expr) => parenthesize(&mut expr.expr),
            Expr::Unary(expr) => parenthesize(&mut expr.expr),
            _ => {}
        }
    }

    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        if has_group(mac.tokens.clone()) {
            arguments::rewrite(mac, &mut |argument| self.visit_expr_mut(argument));
        }
    }
}

fn parenthesize(operand: &mut Expr) {
    let Expr::Group(group) = operand else { return };
    if !is_loose(&group.expr) {
        return;
    }
    let span = Span::mixed_site().located_at(group.group_token.span);
    let expr = mem::replace(&mut *group.expr, Expr::PLACEHOLDER);
    *operand =
        Expr::Paren(ExprParen { attrs: Vec::new(), paren_token: token::Paren(span), expr: Box::new(expr) });
}

/// Whether an operator beside an expression could take a part of it.
fn is_loose(expr: &Expr) -> bool {
    match expr {
        Expr::Group(group) => is_loose(&group.expr),
        _ => matches!(
            expr,
            Expr::Binary(_)
                | Expr::Cast(_)
                | Expr::Closure(_)
                | Expr::Range(_)
                | Expr::RawAddr(_)
                | Expr::Reference(_)
                | Expr::Unary(_)
        ),
    }
}

fn has_group(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::None || has_group(group.stream()),
        _ => false,
    })
}
