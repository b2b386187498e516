//! A library that brings ours along, and makes generators for those who need not know of it.

pub use ctx_runtime;

/// A type whose methods are generators of every kind, of `$number`s from `$first` on.
#[macro_export]
macro_rules! counter {
    ($(#[$attr:meta])* $vis:vis struct $name:ident($number:ty), $first:expr) => {
        $(#[$attr])*
        $vis struct $name($number);

        impl $name {
            /// In a task of its own.
            #[$crate::ctx_runtime::generator(cancellable, name = stringify!($name), crate = $crate::ctx_runtime)]
            $vis async fn spawned(self, ctx: &$crate::ctx_runtime::Context) -> $number {
                defer!(async {});
                let last = defer!(self.0, |_| async {});
                let mut n = $first;
                while n < *last && !shield!(async { ctx.is_done() }) {
                    yield_!(n);
                    n += 1;
                }
                yield_all!($name($first).limit());
            }

            #[$crate::ctx_runtime::generator(crate = $crate::ctx_runtime)]
            async fn limit(self) -> $number {
                yield_!(self.0);
            }

            /// On its thread.
            #[$crate::ctx_runtime::generator(local, crate = $crate::ctx_runtime)]
            $vis async fn local(self, number: &'static str) -> Result<$number, ::std::num::ParseIntError> {
                yield_!(Ok($first));
                yield_!(Ok(number.parse()?));
            }

            /// On a thread of its own.
            #[$crate::ctx_runtime::generator(blocking, buffer = 1, crate = $crate::ctx_runtime)]
            $vis fn blocking(self) -> $number {
                for n in $first..self.0 {
                    yield_!(n);
                }
            }

            /// Borrows.
            #[$crate::ctx_runtime::generator(cancellable, inline, crate = $crate::ctx_runtime)]
            $vis async fn inline(&self, ctx: &$crate::ctx_runtime::Context, more: &mut $number) -> &$number {
                *more += $first;
                yield_!(&self.0);
            }
        }
    };
}

/// A generator of `$item`s, of which its user writes the body.
#[macro_export]
macro_rules! generator_of {
    ($(#[$attr:meta])* $vis:vis fn $name:ident($ctx:ident, $argument:ident: $ty:ty) -> $item:ty $body:block) => {
        $(#[$attr])*
        #[$crate::ctx_runtime::generator(cancellable, crate = $crate::ctx_runtime)]
        $vis async fn $name($ctx: &$crate::ctx_runtime::Context, $argument: $ty) -> $item $body
    };
}
