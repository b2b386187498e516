//! What the body's own code needs changed; its other tokens stay as they are.

use crate::check::Generator;
use proc_macro2::Span;
use quote::quote_spanned;
use syn::visit_mut::VisitMut;
use syn::{Expr, ExprAsync, ExprClosure, ExprReturn, Item};

/// Makes a bare `return` fit the body of a generator of `Result`s, which ends with `Ok(())` or with the error.
pub(crate) fn rewrite(mut generator: Generator) -> Generator {
    if generator.is_fallible() {
        for statement in generator.body_mut() {
            Returns.visit_stmt_mut(statement);
        }
    }
    generator
}

// Input:  return;
// Output: return ::core::result::Result::Ok(());
struct Returns;

impl VisitMut for Returns {
    fn visit_expr_return_mut(&mut self, end: &mut ExprReturn) {
        if let Some(value) = &mut end.expr {
            self.visit_expr_mut(value);
        } else {
            let span = Span::mixed_site().located_at(end.return_token.span);
            end.expr = Some(Box::new(Expr::Verbatim(quote_spanned!(span=> ::core::result::Result::Ok(())))));
        }
    }

    // What returns from something else is not looked at: closures, async blocks and items.
    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}
    fn visit_expr_async_mut(&mut self, _: &mut ExprAsync) {}
    fn visit_item_mut(&mut self, _: &mut Item) {}
}
