//! Where every name that an expansion may use means something else.

#![allow(dead_code, unused_macros, non_camel_case_types, reason = "they are there to be in the way")]

pub use ::ctx_runtime as library;

mod alloc {}
mod core {}
mod ctx_runtime {}
mod private {}
mod std {}
mod tokio {}

macro_rules! types {
    ($($name:ident)*) => {$( struct $name; )*};
}

types! {
    Box Err None Ok Option Pin Poll Result Some String Vec
    Clone Default Drop Fn FnMut FnOnce From Future Into Send Sized Sync Unpin
    Builder Context Duration Generator Inline LocalGenerator Overflow ResultItem Stopped Stream Yielder
}

fn drop() {}
fn inline() {}
fn spawn() {}

macro_rules! macros {
    ($($name:ident)*) => {$( macro_rules! $name { () => {}; } )*};
}

macros!(assert compile_error defer format matches panic pin shield unimplemented unreachable vec yield_ yield_all);

/// Has the methods that an expansion calls, of everything, and takes it by value, so that it comes before one that borrows.
trait InTheWay: ::core::marker::Sized {
    fn buffer(self, _: usize) {}
    fn by_ref(self) {}
    fn builder(self) {}
    fn defer<A>(self, _: A) {}
    fn grace<A>(self, _: A) {}
    fn checkpoint(self) {}
    #[allow(clippy::wrong_self_convention, reason = "so that it comes first")]
    fn is_err(self) {}
    fn guard<A, B>(self, _: A, _: B) {}
    fn name<A>(self, _: A) {}
    fn overflow<A>(self, _: A) {}
    fn shield<A>(self, _: A) {}
    fn spawn<A, B>(self, _: A, _: B) {}
    fn spawn_blocking<A, B>(self, _: A, _: B) {}
    fn spawn_local<A, B>(self, _: A, _: B) {}
    fn yield_<A>(self, _: A) {}
    fn yield_all<A>(self, _: A) {}
}

impl<T> InTheWay for T {}

/// The library by the path that it has where nobody says another.
#[library::generator]
pub async fn one() -> u64 {
    yield_!(1);
}

include!("../paths.rs");
