//! A bare `return` in a generator of `Result`s.

use proc_macro2::Span;
use quote::quote_spanned;
use syn::visit_mut::VisitMut;
use syn::{Expr, ExprAsync, ExprClosure, ExprReturn, Item};

/// Makes a bare `return` fit the body, which ends with `Ok(())` or with the error.
// Input:  return;
// Output: return ::core::result::Result::Ok(());
pub(super) struct Returns;

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
