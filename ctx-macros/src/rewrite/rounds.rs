//! Whether each way round a loop comes by a `yield_!`.
//!
//! The body is followed as it would run, with one thing kept of each way: whether it has come by a yield. Where ways meet, one that
//! has not is what counts. What cannot be told is taken for a way without: the arms of a `select!`, the tokens of other macros (which
//! may also go to the next round), and `yield_all!`, which hands on nothing of a stream that is empty.

use crate::check::mentions;
use crate::words::Word;
use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, BinOp, Block, Expr, Label, Lifetime, Macro, Pat, Stmt, Token};

/// Whether no round of a loop goes without a yield. `head` is what is evaluated in each.
pub(super) fn all_yield(head: Option<&Expr>, label: Option<&Label>, body: &Block) -> bool {
    let mut walk = Walk { targets: vec![Target::new(label, true)] };
    let begun = head.map_or(Way::Without, |head| walk.expr(head, Way::Without));
    let end = walk.block(body, begun);
    let [around] = &*walk.targets else { unreachable!("each target is taken off by who has put it on") };
    end.min(around.continues) > Way::Without
}

/// How a place is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// By some way that has not come by a yield in this round.
    Without,
    /// By a yield.
    With,
    Not,
}

/// What can be left, or gone on with.
struct Target {
    label: Option<Lifetime>,
    is_loop: bool,
    breaks: Way,
    continues: Way,
}

impl Target {
    fn new(label: Option<&Label>, is_loop: bool) -> Self {
        Self { label: label.map(|label| label.name.clone()), is_loop, breaks: Way::Not, continues: Way::Not }
    }
}

struct Walk {
    /// From the loop inwards.
    targets: Vec<Target>,
}

impl Walk {
    fn block(&mut self, block: &Block, before: Way) -> Way {
        block.stmts.iter().fold(before, |way, statement| self.statement(statement, way))
    }

    fn statement(&mut self, statement: &Stmt, before: Way) -> Way {
        let (attrs, after): (&[Attribute], _) = match statement {
            Stmt::Local(local) => {
                let Some(init) = &local.init else { return before };
                let after = self.expr(&init.expr, before);
                if let Some((_, diverges)) = &init.diverge {
                    self.expr(diverges, after);
                }
                (&local.attrs, after)
            }
            Stmt::Item(_) => return before,
            Stmt::Expr(expr, _) => (attributes(expr), self.expr(expr, before)),
            Stmt::Macro(call) => (&call.attrs, self.called(&call.mac, before)),
        };
        // Or it is not there.
        if attrs.iter().any(|attribute| attribute.path().is_ident("cfg")) { before.min(after) } else { after }
    }

    fn all<'a>(&mut self, exprs: impl IntoIterator<Item = &'a Expr>, before: Way) -> Way {
        exprs.into_iter().fold(before, |way, expr| self.expr(expr, way))
    }

    /// Follows `inside`, which can be left.
    fn within(&mut self, target: Target, inside: impl FnOnce(&mut Self) -> Way) -> (Way, Target) {
        self.targets.push(target);
        let end = inside(self);
        let target = self.targets.pop().unwrap_or_else(|| unreachable!("it was put on just now"));
        (end, target)
    }

    #[allow(clippy::too_many_lines, reason = "a line or two for each kind of expression")]
    fn expr(&mut self, expr: &Expr, before: Way) -> Way {
        match expr {
            Expr::Macro(call) => self.called(&call.mac, before),

            // Where ways part and meet.
            Expr::If(choice) => {
                let decided = self.expr(&choice.cond, before);
                let then = self.block(&choice.then_branch, decided);
                let or = choice.else_branch.as_ref().map_or(decided, |(_, or)| self.expr(or, decided));
                then.min(or)
            }
            Expr::Match(choice) => {
                let decided = self.expr(&choice.expr, before);
                let arms = choice.arms.iter().map(|arm| {
                    let guarded = self.guard(&arm.pat, decided);
                    self.expr(&arm.body, guarded)
                });
                arms.min().unwrap_or(Way::Not)
            }
            Expr::Binary(both) => {
                let left = self.expr(&both.left, before);
                let right = self.expr(&both.right, left);
                if matches!(both.op, BinOp::And(_) | BinOp::Or(_)) { left.min(right) } else { right }
            }
            Expr::Loop(inner) => {
                let target = Target::new(inner.label.as_ref(), true);
                self.within(target, |walk| walk.block(&inner.body, before)).1.breaks
            }
            Expr::While(inner) => {
                let mut decided = before;
                let (_, target) = self.within(Target::new(inner.label.as_ref(), true), |walk| {
                    decided = walk.expr(&inner.cond, before);
                    walk.block(&inner.body, decided)
                });
                decided.min(target.breaks)
            }
            Expr::ForLoop(inner) => {
                let begun = self.expr(&inner.expr, before);
                let target = Target::new(inner.label.as_ref(), true);
                let (_, target) = self.within(target, |walk| walk.block(&inner.body, begun));
                begun.min(target.breaks)
            }
            Expr::Block(inner) => {
                let target = Target::new(inner.label.as_ref(), false);
                let (end, target) = self.within(target, |walk| walk.block(&inner.block, before));
                end.min(target.breaks)
            }
            Expr::Unsafe(inner) => self.block(&inner.block, before),

            // Where a way ends.
            Expr::Break(leaves) => {
                let way = self.all(leaves.expr.as_deref(), before);
                if let Some(target) = self.target(leaves.label.as_ref()) {
                    target.breaks = target.breaks.min(way);
                }
                Way::Not
            }
            Expr::Continue(next) => {
                if let Some(target) = self.target(next.label.as_ref()) {
                    target.continues = target.continues.min(before);
                }
                Way::Not
            }
            Expr::Return(end) => {
                self.all(end.expr.as_deref(), before);
                Way::Not
            }

            // One after another.
            Expr::Array(array) => self.all(&array.elems, before),
            Expr::Assign(both) => self.all([&*both.right, &*both.left], before),
            Expr::Await(wait) => self.expr(&wait.base, before),
            Expr::Call(call) => {
                let way = self.expr(&call.func, before);
                self.all(&call.args, way)
            }
            Expr::Cast(cast) => self.expr(&cast.expr, before),
            Expr::Field(field) => self.expr(&field.base, before),
            Expr::Group(group) => self.expr(&group.expr, before),
            Expr::Index(index) => self.all([&*index.expr, &*index.index], before),
            Expr::Let(binding) => self.expr(&binding.expr, before),
            Expr::MethodCall(call) => {
                let way = self.expr(&call.receiver, before);
                self.all(&call.args, way)
            }
            Expr::Paren(paren) => self.expr(&paren.expr, before),
            Expr::Range(range) => self.all(range.start.iter().chain(&range.end).map(|end| &**end), before),
            Expr::RawAddr(address) => self.expr(&address.expr, before),
            Expr::Reference(reference) => self.expr(&reference.expr, before),
            Expr::Repeat(repeat) => self.expr(&repeat.expr, before),
            Expr::Struct(made) => {
                let way = self.all(made.fields.iter().map(|field| &field.expr), before);
                self.all(made.rest.as_deref(), way)
            }
            Expr::Try(tries) => self.expr(&tries.expr, before),
            Expr::Tuple(tuple) => self.all(&tuple.elems, before),
            Expr::Unary(unary) => self.expr(&unary.expr, before),

            // Code of its own, what has no code in it, and what is not known.
            _ => before,
        }
    }

    fn guard(&mut self, pat: &Pat, before: Way) -> Way {
        match pat {
            Pat::Guard(guarded) => self.expr(&guarded.guard, before),
            _ => before,
        }
    }

    fn called(&mut self, mac: &Macro, before: Way) -> Way {
        let Some(word) = Word::called_by(&mac.path) else {
            let ends = ["panic", "todo", "unimplemented", "unreachable"];
            if ends.iter().any(|name| mac.path.is_ident(name)) {
                return Way::Not;
            }
            self.unknown(&mac.tokens, before);
            return before;
        };
        let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
        let after = match parser.parse2(mac.tokens.clone()) {
            Ok(arguments) => self.all(&arguments, before),
            Err(_) => before,
        };
        if word == Word::Yield { after.max(Way::With) } else { after }
    }

    /// What may go on or leave, wherever to.
    fn unknown(&mut self, tokens: &TokenStream, before: Way) {
        if mentions(tokens.clone(), "continue") {
            self.targets.iter_mut().for_each(|target| target.continues = target.continues.min(before));
        }
        if mentions(tokens.clone(), "break") {
            self.targets.iter_mut().for_each(|target| target.breaks = target.breaks.min(before));
        }
    }

    /// None if it is around the loop that is looked at.
    fn target(&mut self, label: Option<&Lifetime>) -> Option<&mut Target> {
        self.targets.iter_mut().rev().find(|target| match label {
            Some(_) => target.label.as_ref() == label,
            None => target.is_loop,
        })
    }
}

fn attributes(expr: &Expr) -> &[Attribute] {
    match expr {
        Expr::Block(expr) => &expr.attrs,
        Expr::Await(expr) => &expr.attrs,
        Expr::Call(expr) => &expr.attrs,
        Expr::If(expr) => &expr.attrs,
        Expr::Loop(expr) => &expr.attrs,
        Expr::Macro(expr) => &expr.attrs,
        Expr::Match(expr) => &expr.attrs,
        Expr::MethodCall(expr) => &expr.attrs,
        Expr::Unsafe(expr) => &expr.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn verdict(found: &Expr) -> bool {
        match found {
            Expr::Loop(found) => all_yield(None, found.label.as_ref(), &found.body),
            Expr::While(found) => all_yield(Some(&found.cond), found.label.as_ref(), &found.body),
            Expr::ForLoop(found) => all_yield(None, found.label.as_ref(), &found.body),
            _ => unreachable!("a loop"),
        }
    }

    #[allow(clippy::too_many_lines, reason = "a table of loops")]
    #[test]
    fn each_way_round_comes_by_a_yield() {
        let loops: [Expr; 24] = [
            parse_quote!(loop {
                yield_!(n)
            }),
            parse_quote!(loop {
                yield_!(n);
                n += 1;
            }),
            parse_quote!(loop {
                let x = next().await;
                let () = yield_!(x?);
            }),
            parse_quote!(loop {
                if a {
                    yield_!(1);
                } else {
                    yield_!(2);
                }
            }),
            parse_quote!(loop {
                if a {
                    break;
                }
                yield_!(1);
            }),
            parse_quote!(loop {
                if a {
                    return;
                } else if b {
                    panic!("no")
                } else {
                    yield_!(1)
                }
            }),
            parse_quote!(loop {
                match next().await {
                    Some(x) => yield_!(x),
                    None => break,
                }
            }),
            parse_quote!(loop {
                match x {
                    1 => {
                        yield_!(1);
                        continue;
                    }
                    _ => {}
                }
                yield_!(2);
            }),
            parse_quote!(loop {
                let Some(x) = next().await else { break };
                yield_!(x);
            }),
            parse_quote!(loop {
                let Some(x) = next() else {
                    yield_!(0);
                    continue;
                };
                yield_!(x);
            }),
            parse_quote!(loop {
                yield_!(1);
                if a {
                    continue;
                }
                rest().await;
            }),
            parse_quote!(loop {
                yield_!(1);
                for x in xs {
                    if x {
                        continue;
                    }
                    x.await;
                }
            }),
            parse_quote!(loop {
                for x in xs {
                    x.await
                }
                yield_!(1);
            }),
            parse_quote!(loop {
                let x = loop {
                    if a {
                        yield_!(1);
                        break 1;
                    } else {
                        x().await
                    }
                };
            }),
            parse_quote!('a: loop {
                loop {
                    yield_!(1);
                    continue 'a;
                }
            }),
            parse_quote!(loop {
                'b: {
                    if a {
                        yield_!(2);
                        break 'b;
                    }
                    yield_!(1);
                }
            }),
            parse_quote!('outer: for x in xs {
                for y in x {
                    if y {
                        break 'outer;
                    }
                    y.await
                }
                yield_!(x);
            }),
            parse_quote!(while let Some(x) = next().await {
                yield_!(x);
            }),
            parse_quote!(while {
                yield_!(1);
                go()
            } {
                wait().await
            }),
            parse_quote!(for x in xs {
                unsafe { yield_!(x) }
            }),
            parse_quote!(for x in xs {
                f(yield_!(x), [1]).await;
            }),
            parse_quote!(for x in xs {
                println!("{x}");
                (yield_!(x));
            }),
            parse_quote!(loop {
                let f = || {
                    loop {
                        continue;
                    }
                };
                yield_!(f());
            }),
            parse_quote!(loop {
                todo!()
            }),
        ];
        for found in &loops {
            assert!(verdict(found), "{}", quote::quote!(#found));
        }
    }

    #[allow(clippy::too_many_lines, reason = "a table of loops")]
    #[test]
    fn some_way_round_has_no_yield() {
        let loops: [Expr; 27] = [
            parse_quote!(loop {
                wait().await
            }),
            parse_quote!(loop {
                if rare(n) {
                    yield_!(n);
                }
                n += 1;
            }),
            parse_quote!(loop {
                if a {
                    continue;
                }
                yield_!(1);
            }),
            parse_quote!(loop {
                match x {
                    1 => yield_!(1),
                    _ => {}
                }
            }),
            parse_quote!(loop {
                match x {
                    1 if a => yield_!(1),
                    1 => continue,
                    _ => yield_!(2),
                }
            }),
            parse_quote!(loop {
                let Some(x) = next().await else { continue };
                yield_!(x);
            }),
            parse_quote!(loop {
                for x in xs {
                    yield_!(x);
                }
            }),
            parse_quote!(loop {
                while a {
                    yield_!(1);
                }
            }),
            parse_quote!(loop {
                while let Some(x) = next().await {
                    yield_!(x);
                }
            }),
            parse_quote!(loop {
                loop {
                    if a {
                        break;
                    }
                    yield_!(1);
                }
            }),
            parse_quote!(loop {
                a && {
                    yield_!(1);
                    true
                };
            }),
            parse_quote!(loop {
                a || {
                    yield_!(1);
                    true
                };
            }),
            parse_quote!('a: loop {
                loop {
                    if a {
                        continue 'a;
                    }
                    yield_!(1);
                }
            }),
            parse_quote!('a: for x in xs {
                for y in x {
                    if y {
                        continue 'a;
                    }
                    y.await
                }
                yield_!(1);
            }),
            parse_quote!(loop {
                'b: {
                    if a {
                        break 'b;
                    }
                    yield_!(1);
                }
            }),
            parse_quote!(loop {
                select! { x = a() => yield_!(x), y = b() => yield_!(y) }
            }),
            parse_quote!(loop {
                select! { x = a() => { if x { continue } } }
                yield_!(1);
            }),
            parse_quote!(loop {
                yield_all!(walk(n));
            }),
            parse_quote!(loop {
                shield!(wait());
            }),
            parse_quote!(loop {
                yield_!(match x {
                    1 => continue,
                    x => x,
                });
            }),
            parse_quote!(loop {
                let f = async || yield_!(1);
            }),
            parse_quote!(loop {
                async { yield_!(1) }.await
            }),
            parse_quote!(loop {
                #[cfg(unix)]
                yield_!(1);
            }),
            parse_quote!(loop {
                hand_on!(x)
            }),
            parse_quote!(while let Some(x) = next().await {
                if x {
                    yield_!(x);
                }
            }),
            parse_quote!(for x in xs {
                if let Some(x) = x
                    && x.is()
                {
                    yield_!(x);
                }
            }),
            parse_quote!(loop {
                fn inner() {
                    yield_!(1)
                }
            }),
        ];
        for found in &loops {
            assert!(!verdict(found), "{}", quote::quote!(#found));
        }
    }
}
