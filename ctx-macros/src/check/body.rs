//! The rules of the body: where it yields, and with what it ends.

use super::macros::{is_std, mentions_yield};
use super::{is_result, is_unit};
use crate::args::Kind;
use crate::errors::{self, Errors};
use crate::words::Word;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, Expr, ExprAsync, ExprAwait, ExprCall, ExprClosure, ExprForLoop, ExprLoop,
    ExprMethodCall, ExprReturn, ExprTry, ExprTryBlock, ExprWhile, ExprYield, Ident, ImplItemFn, Item, ItemFn,
    Local, Macro, Pat, Path, Signature, Stmt, Token, Type,
};

/// `context` is how an expression refers to the generator's context. Tells whether some `return` has an expression with
/// it.
pub(super) fn check(
    body: &[Stmt],
    kind: Kind,
    item: Option<&Type>,
    signature: &Signature,
    context: Option<&str>,
    errors: &mut Errors,
) -> bool {
    let fallible = item.is_some_and(is_result);
    let mut walk = Walk {
        kind,
        place: Place::Body,
        returns: true,
        handed_to: None,
        redefined: Vec::new(),
        yielding: Vec::new(),
        item,
        seen: Seen::default(),
        fallible,
        errors,
    };
    for statement in body {
        walk.visit_stmt(statement);
    }
    let seen = walk.seen;
    if !seen.may_yield {
        errors.push(errors::no_yield(signature, kind, context));
    }
    ends_without_value(body, fallible, errors);
    seen.returns_value
}

/// Checks that the last line is no value, nor a `Result`, as it is in a function that returns one.
fn ends_without_value(body: &[Stmt], fallible: bool, errors: &mut Errors) {
    let Some(Stmt::Expr(tail, None)) = body.last() else { return };
    match result(tail) {
        Some(("Ok", value)) if fallible && is_unit(value) => errors.push(errors::tail_ok(tail)),
        Some((variant, _)) if fallible => errors.push(errors::tail_result(tail, variant == "Err")),
        // A variable may hold `()`.
        _ if is_value(tail) && !matches!(tail, Expr::Path(_)) => {
            errors.push(errors::tail_value(tail, fallible));
        }
        _ => {}
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
    /// An async block's in a body that is not async.
    Async,
    Function(Option<Ident>),
    /// That of what was handed to another to run.
    Elsewhere(Runner),
}

/// Who runs what it is handed, for longer than the body may live.
#[derive(Clone)]
enum Runner {
    /// The function of this name.
    Spawn(Ident),
    Defer,
}

struct Walk<'e> {
    kind: Kind,
    place: Place,
    /// Whether `return` here returns from the generator.
    returns: bool,
    /// Among whose arguments this stands.
    handed_to: Option<Runner>,
    /// Of which the body has a macro of its own.
    redefined: Vec<Word>,
    /// The variables that are async blocks which yield.
    yielding: Vec<Ident>,
    seen: Seen,
    fallible: bool,
    item: Option<&'e Type>,
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

    /// Where the code of an async block or closure runs: in the body, whatever it was passed through, unless it was handed to
    /// another, or the body is not async.
    fn place_of_async(&self) -> Option<Place> {
        match (&self.place, &self.handed_to) {
            (Place::Function(_) | Place::Elsewhere(_), _) => None,
            (_, Some(runner)) => Some(Place::Elsewhere(runner.clone())),
            (_, None) if self.kind == Kind::Blocking => Some(Place::Async),
            (_, None) => Some(Place::Body),
        }
    }

    /// One of the body's own macros.
    fn word(&mut self, word: Word, mac: &Macro) {
        self.seen.may_yield |= word.yields();
        let arguments = self.expressions_of(&mac.tokens);
        match self.kind {
            Kind::Inline if !word.yields() => self.errors.push(errors::word_in_inline(&mac.path, word)),
            Kind::Blocking if word != Word::Yield => {
                self.errors.push(errors::word_in_blocking(&mac.path, word, &mac.tokens));
            }
            _ => self.word_in_body(word, &mac.path),
        }
        let Some(arguments) = arguments else { return };
        self.number_of_arguments(word, &mac.path, &arguments);
        match (word, arguments.last()) {
            (Word::Defer, Some(clean_up)) => {
                arguments.iter().take(arguments.len() - 1).for_each(|value| self.visit_expr(value));
                self.hand_to(&Runner::Defer, [clean_up]);
            }
            _ => arguments.iter().for_each(|argument| self.visit_expr(argument)),
        }
    }

    /// Checks that one of the body's macros stands in the generator's own code.
    fn word_in_body(&mut self, word: Word, path: &Path) {
        match &self.place {
            Place::Body => {}
            // It waits for nothing.
            Place::Closure if word == Word::Defer => {}
            Place::Closure if self.kind == Kind::Blocking => {
                self.errors.push(errors::yield_in_blocking_closure(path));
            }
            Place::Closure => self.errors.push(errors::word_in_closure(path, word)),
            Place::Async => self.errors.push(errors::yield_in_async_block(path)),
            Place::Function(name) => self.errors.push(errors::word_in_function(path, word, name.as_ref())),
            Place::Elsewhere(Runner::Spawn(spawn)) => {
                self.errors.push(errors::word_in_spawn(path, word, spawn, self.kind));
            }
            Place::Elsewhere(Runner::Defer) => self.errors.push(errors::word_in_defer(path, word)),
        }
    }

    /// Checks that `#[no_checkpoint]` takes nothing.
    fn marks_alone(&mut self, attrs: &[Attribute]) {
        for attribute in attrs.iter().filter(|attribute| is_no_checkpoint(attribute)) {
            if attribute.meta.require_path_only().is_err() {
                self.errors.push(errors::no_checkpoint_with_value(attribute));
            }
        }
    }

    fn number_of_arguments(&mut self, word: Word, path: &Path, given: &Punctuated<Expr, Token![,]>) {
        let most = if word == Word::Defer { 2 } else { 1 };
        if given.is_empty() {
            self.errors.push(errors::word_without_argument(path, word));
        } else if let Some(more) = given.iter().nth(most) {
            self.errors.push(errors::word_with_more_arguments(more, word));
        }
    }

    fn hand_to<'a>(&mut self, runner: &Runner, arguments: impl IntoIterator<Item = &'a Expr>) {
        let outside = self.handed_to.replace(runner.clone());
        for argument in arguments {
            self.does_not_yield(argument, runner);
            self.visit_expr(argument);
        }
        self.handed_to = outside;
    }

    /// Checks that what is spawned is no block of before that yields.
    fn does_not_yield(&mut self, argument: &Expr, runner: &Runner) {
        let (Expr::Path(variable), Runner::Spawn(spawn)) = (argument, runner) else { return };
        if let Some(block) = variable.path.get_ident().filter(|block| self.yielding.contains(block)) {
            self.errors.push(errors::yield_spawned(block, spawn));
        }
    }

    /// The arguments of a macro that takes expressions; where they are none after all, its tokens must do.
    fn expressions_of(&mut self, tokens: &TokenStream) -> Option<Punctuated<Expr, Token![,]>> {
        let arguments = Punctuated::parse_terminated.parse2(tokens.clone()).ok();
        if arguments.is_none() {
            self.seen.may_yield |= mentions_yield(tokens.clone());
        }
        arguments
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_macro(&mut self, mac: &'ast Macro) {
        if let Some(word) = Word::called_by(&mac.path).filter(|word| !self.redefined.contains(word)) {
            self.word(word, mac);
        } else if is_std(&mac.path) {
            for argument in self.expressions_of(&mac.tokens).iter().flatten() {
                self.visit_expr(argument);
            }
        } else {
            // What it expands to, syntax does not tell: it may yield.
            self.seen.may_yield = true;
        }
    }

    /// Checks that `#[no_checkpoint]` stands on a loop. Those of loops do not come by here.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if is_no_checkpoint(attribute) {
            self.errors.push(errors::no_checkpoint_elsewhere(attribute));
        }
    }

    fn visit_expr_loop(&mut self, found: &'ast ExprLoop) {
        self.marks_alone(&found.attrs);
        self.visit_block(&found.body);
    }

    fn visit_expr_while(&mut self, found: &'ast ExprWhile) {
        self.marks_alone(&found.attrs);
        self.visit_expr(&found.cond);
        self.visit_block(&found.body);
    }

    fn visit_expr_for_loop(&mut self, found: &'ast ExprForLoop) {
        self.marks_alone(&found.attrs);
        self.visit_expr(&found.expr);
        self.visit_block(&found.body);
    }

    fn visit_expr_yield(&mut self, bare: &'ast ExprYield) {
        self.seen.may_yield = true;
        let value = bare.expr.as_deref();
        self.errors.push(errors::bare_yield(bare.yield_token, value.map(|value| value as &dyn ToTokens)));
        visit::visit_expr_yield(self, bare);
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        let place = match (&closure.asyncness, &self.place, &self.handed_to) {
            (Some(_), ..) => self.place_of_async(),
            (None, Place::Body | Place::Closure | Place::Async, Some(runner)) => {
                Some(Place::Elsewhere(runner.clone()))
            }
            (None, Place::Body, None) => Some(Place::Closure),
            (None, ..) => None,
        };
        self.within(place, |walk| walk.visit_expr(&closure.body));
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        let place = self.place_of_async();
        self.within(place, |walk| walk.visit_block(&block.block));
    }

    /// Checks that a body that is not async does not wait as one that is; what has its own `async` may.
    fn visit_expr_await(&mut self, wait: &'ast ExprAwait) {
        if self.returns && self.kind == Kind::Blocking {
            self.errors.push(errors::await_in_blocking(wait.await_token));
        }
        self.visit_expr(&wait.base);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let outside = self.yielding.clone();
        visit::visit_block(self, block);
        self.yielding = outside;
    }

    fn visit_local(&mut self, local: &'ast Local) {
        visit::visit_local(self, local);
        let Pat::Ident(variable) = &local.pat else { return };
        self.yielding.retain(|known| *known != variable.ident);
        if let Some(Expr::Async(block)) = local.init.as_ref().map(|init| &*init.expr) {
            if self.redefined.is_empty() && mentions_yield(block.block.to_token_stream()) {
                self.yielding.push(variable.ident.clone());
            }
        }
    }

    /// Checks that the generator has something to hand an error on to.
    fn visit_expr_try(&mut self, tries: &'ast ExprTry) {
        if let Some(item) = self.item.filter(|_| self.returns && !self.fallible) {
            self.errors.push(errors::question_mark(tries.question_token, item));
        }
        self.visit_expr(&tries.expr);
    }

    fn visit_expr_try_block(&mut self, block: &'ast ExprTryBlock) {
        self.within(None, |walk| walk.visit_block(&block.block));
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let Expr::Path(function) = &*call.func else { return visit::visit_expr_call(self, call) };
        match function.path.segments.last() {
            Some(last) if is_spawn(&last.ident) => {
                self.hand_to(&Runner::Spawn(last.ident.clone()), &call.args);
            }
            _ => visit::visit_expr_call(self, call),
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if is_spawn(&call.method) {
            self.visit_expr(&call.receiver);
            self.hand_to(&Runner::Spawn(call.method.clone()), &call.args);
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
            Item::Macro(defined) => {
                let name = defined.ident.as_ref();
                let is_it = |word: &Word| name.is_some_and(|name| name == word.name());
                self.redefined.extend(Word::ALL.iter().filter(|word| is_it(word)));
            }
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

/// Whether an attribute says of a loop that it gets no checkpoint.
pub(crate) fn is_no_checkpoint(attribute: &Attribute) -> bool {
    attribute.path().is_ident("no_checkpoint")
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
