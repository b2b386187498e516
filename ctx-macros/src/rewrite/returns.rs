//! A bare `return` in a generator of `Result`s.

use crate::arguments;
use crate::check::mentions;
use proc_macro2::Span;
use quote::quote_spanned;
use syn::visit_mut::VisitMut;
use syn::{Expr, ExprAsync, ExprClosure, ExprReturn, Item, Macro};

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

    /// Among the arguments, too, of a macro that runs them in place.
    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        if mentions(mac.tokens.clone(), "return") {
            arguments::rewrite(mac, &mut |argument| self.visit_expr_mut(argument));
        }
    }

    // What returns from something else is not looked at: closures, async blocks and items.
    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}
    fn visit_expr_async_mut(&mut self, _: &mut ExprAsync) {}
    fn visit_item_mut(&mut self, _: &mut Item) {}
}
