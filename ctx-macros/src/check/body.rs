//! The rules of the body: where it yields, and with what it ends.

use super::is_unit;
use crate::errors::{self, Errors};
use proc_macro2::{TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprAsync, ExprCall, ExprClosure, ExprMethodCall, ExprReturn, ExprYield, Ident,
    ImplItemFn, Item, ItemFn, Macro, Path, Signature, Stmt, Token,
};

/// `context` is how an expression refers to the generator's context. Tells whether some `return` has an expression with
/// it.
pub(super) fn check(
    body: &[Stmt],
    fallible: bool,
    signature: &Signature,
    context: Option<&str>,
    errors: &mut Errors,
) -> bool {
    let mut walk =
        Walk { place: Place::Body, returns: true, handed_to: None, seen: Seen::default(), fallible, errors };
    for statement in body {
        walk.visit_stmt(statement);
    }
    let seen = walk.seen;
    if !seen.may_yield {
        errors.push(errors::no_yield(signature, context));
    }
    if fallible {
        ends_without_result(body, errors);
    }
    seen.returns_value
}

/// Checks that the last line is not a `Result`, as it is in a function that returns one.
fn ends_without_result(body: &[Stmt], errors: &mut Errors) {
    let Some(Stmt::Expr(tail, None)) = body.last() else { return };
    match result(tail) {
        Some(("Ok", value)) if is_unit(value) => errors.push(errors::tail_ok(tail)),
        Some((variant, _)) => errors.push(errors::tail_result(tail, variant == "Err")),
        None => {}
    }
}

/// Takes `Ok(value)` and `Err(value)` apart.
fn result(value: &Expr) -> Option<(&'static str, &Expr)> {
    let Expr::Call(call) = value else { return None };
    let Expr::Path(function) = &*call.func else { return None };
    let last = function.path.segments.last()?;
    let variant = ["Ok", "Err"].into_iter().find(|variant| last.ident == variant)?;
    match call.args.len() {
        1 => call.args.first().map(|value| (variant, value)),
        _ => None,
    }
}

/// Whose code is being looked at.
enum Place {
    /// The generator's: here, and in the async blocks that it awaits.
    Body,
    /// A closure's, which is not async.
    Closure,
    Function(Option<Ident>),
    /// What the function of this name was given to run.
    Spawned(Ident),
}

struct Walk<'e> {
    place: Place,
    /// Whether `return` here returns from the generator.
    returns: bool,
    /// The spawning function among whose arguments this stands.
    handed_to: Option<Ident>,
    seen: Seen,
    fallible: bool,
    errors: &'e mut Errors,
}

#[derive(Default)]
struct Seen {
    /// A yield, or something that may hide one.
    may_yield: bool,
    /// A `return` from the generator with an expression.
    returns_value: bool,
}

impl Walk<'_> {
    /// Walks what returns for itself.
    fn within(&mut self, place: Option<Place>, walk: impl FnOnce(&mut Self)) {
        let handed_to = self.handed_to.take();
        let returns = std::mem::replace(&mut self.returns, false);
        let outside = place.map(|place| std::mem::replace(&mut self.place, place));
        walk(self);
        if let Some(outside) = outside {
            self.place = outside;
        }
        self.returns = returns;
        self.handed_to = handed_to;
    }

    /// Where the code of an async block or closure runs: in the body, whatever it was passed through, unless it is spawned.
    fn place_of_async(&self) -> Option<Place> {
        match (&self.place, &self.handed_to) {
            (Place::Body | Place::Closure, Some(spawn)) => Some(Place::Spawned(spawn.clone())),
            (Place::Body | Place::Closure, None) => Some(Place::Body),
            (Place::Function(_) | Place::Spawned(_), _) => None,
        }
    }

    /// Checks that a yield stands in the generator's own code.
    fn yields_here(&mut self, path: &Path) {
        match &self.place {
            Place::Body => {}
            Place::Closure => self.errors.push(errors::yield_in_closure(path)),
            Place::Function(name) => self.errors.push(errors::yield_in_function(path, name.as_ref())),
            Place::Spawned(spawn) => self.errors.push(errors::yield_in_spawn(path, spawn)),
        }
    }

    fn arguments_of_spawn(&mut self, spawn: &Ident, arguments: &Punctuated<Expr, Token![,]>) {
        let outside = self.handed_to.replace(spawn.clone());
        for argument in arguments {
            self.visit_expr(argument);
        }
        self.handed_to = outside;
    }

    /// Looks into a macro whose arguments are expressions; where they are not after all, its tokens must do.
    fn expressions(&mut self, tokens: &TokenStream) {
        match Punctuated::<Expr, Token![,]>::parse_terminated.parse2(tokens.clone()) {
            Ok(arguments) => arguments.iter().for_each(|argument| Walk::visit_expr(self, argument)),
            Err(_) => self.seen.may_yield |= mentions_yield(tokens.clone()),
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_macro(&mut self, mac: &'ast Macro) {
        if mac.path.is_ident("yield_") {
            self.seen.may_yield = true;
            self.yields_here(&mac.path);
            self.expressions(&mac.tokens);
        } else if is_std(&mac.path) {
            self.expressions(&mac.tokens);
        } else {
            // What it expands to, syntax does not tell: it may yield.
            self.seen.may_yield = true;
        }
    }

    fn visit_expr_yield(&mut self, bare: &'ast ExprYield) {
        self.seen.may_yield = true;
        let value = bare.expr.as_deref();
        self.errors
            .push(errors::bare_yield(bare.yield_token, value.map(|value| value as &dyn quote::ToTokens)));
        visit::visit_expr_yield(self, bare);
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        let place = match (&closure.asyncness, &self.place, &self.handed_to) {
            (Some(_), ..) => self.place_of_async(),
            (None, Place::Body | Place::Closure, Some(spawn)) => Some(Place::Spawned(spawn.clone())),
            (None, Place::Body, None) => Some(Place::Closure),
            (None, ..) => None,
        };
        self.within(place, |walk| walk.visit_expr(&closure.body));
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        let place = self.place_of_async();
        self.within(place, |walk| walk.visit_block(&block.block));
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let Expr::Path(function) = &*call.func else { return visit::visit_expr_call(self, call) };
        match function.path.segments.last() {
            Some(last) if is_spawn(&last.ident) => self.arguments_of_spawn(&last.ident, &call.args),
            _ => visit::visit_expr_call(self, call),
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if is_spawn(&call.method) {
            self.visit_expr(&call.receiver);
            self.arguments_of_spawn(&call.method, &call.args);
        } else {
            visit::visit_expr_method_call(self, call);
        }
    }

    /// Checks that the generator returns nothing but, if its items are `Result`s, an error.
    fn visit_expr_return(&mut self, end: &'ast ExprReturn) {
        let Some(value) = end.expr.as_deref().filter(|_| self.returns) else {
            return visit::visit_expr_return(self, end);
        };
        self.seen.returns_value = true;
        let is_wrong = match result(value) {
            Some(("Ok", value)) if self.fallible => is_value(value),
            Some(_) => !self.fallible,
            None => !self.fallible && is_value(value),
        };
        if is_wrong {
            self.errors.push(errors::returns_value(value));
        }
        self.visit_expr(value);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            // The body's own macro: where it is called, it is a macro that may hide a yield.
            Item::Macro(_) => {}
            _ => self.within(Some(Place::Function(None)), |walk| visit::visit_item(walk, item)),
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if is_plain(&function.attrs) {
            let place = Place::Function(Some(function.sig.ident.clone()));
            self.within(Some(place), |walk| visit::visit_item_fn(walk, function));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if is_plain(&function.attrs) {
            let place = Place::Function(Some(function.sig.ident.clone()));
            self.within(Some(place), |walk| visit::visit_impl_item_fn(walk, function));
        }
    }
}

/// Whether an expression is for certain a value, not `()`: what a call returns, syntax does not tell. (A variable that
/// holds `()` is not returned by its name.)
fn is_value(value: &Expr) -> bool {
    match value {
        Expr::Paren(inner) => is_value(&inner.expr),
        Expr::Group(inner) => is_value(&inner.expr),
        Expr::Tuple(tuple) => !tuple.elems.is_empty(),
        Expr::Call(call) => matches!(&*call.func, Expr::Path(function) if function.path.is_ident("Some")),
        _ => matches!(
            value,
            Expr::Array(_)
                | Expr::Binary(_)
                | Expr::Cast(_)
                | Expr::Closure(_)
                | Expr::Field(_)
                | Expr::Lit(_)
                | Expr::Path(_)
                | Expr::Range(_)
                | Expr::Reference(_)
                | Expr::Repeat(_)
                | Expr::Struct(_)
                | Expr::Unary(_)
        ),
    }
}

/// Whether a function of this name runs what it is given by itself, for longer than the body may live. The scoped ones
/// give their scope to a closure.
fn is_spawn(function: &Ident) -> bool {
    [
        "spawn",
        "spawn_blocking",
        "spawn_blocking_on",
        "spawn_local",
        "spawn_local_on",
        "spawn_on",
        "spawn_pinned",
        "spawn_with_handle",
    ]
    .iter()
    .any(|name| function == name)
}

/// Whether a function's attributes leave it as it is: another macro (a `#[generator]` of its own) may bring a `yield_!`.
fn is_plain(attrs: &[Attribute]) -> bool {
    let known = [
        "allow",
        "cfg",
        "cfg_attr",
        "cold",
        "deny",
        "deprecated",
        "doc",
        "expect",
        "forbid",
        "inline",
        "must_use",
        "track_caller",
        "warn",
    ];
    attrs.iter().all(|attribute| known.iter().any(|name| attribute.path().is_ident(name)))
}

/// Whether a macro is one of std's that hide no yield. `todo!` and its like stand where one is still to be written.
fn is_std(path: &Path) -> bool {
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
    let mut segments = path.segments.iter().map(|segment| &segment.ident);
    let (first, last) = (segments.next(), segments.next_back());
    let from_std = match last {
        None => true,
        Some(_) => first.is_some_and(|first| ["std", "core", "alloc"].iter().any(|name| first == name)),
    };
    from_std && last.or(first).is_some_and(|name| STD.iter().any(|known| name == known))
}

fn mentions_yield(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_yield(group.stream()),
        TokenTree::Ident(word) => word == "yield_",
        _ => false,
    })
}
