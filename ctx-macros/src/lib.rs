//! The attribute of `ctx-runtime`, which re-exports it: depend on that crate, not on this one.
//!
//! The stages are `parse` (what is written) → `check` (every rule, all mistakes at once) → `rewrite` (what the body needs
//! changed) → `emit` (the expansion or, after a mistake, a stub with the same signature).

mod args;
mod arguments;
mod check;
mod emit;
mod errors;
#[cfg(test)]
mod expansion;
mod groups;
#[cfg(test)]
mod mutations;
mod parse;
mod rewrite;
mod test;
mod words;

use proc_macro2::TokenStream;

/// Makes a generator of an `async fn`, or of a plain `fn` that blocks, whose return type is the item.
///
/// What is written `async fn rows(ctx: &Context, table: Table) -> Row` becomes
/// `fn rows(ctx: &Context, table: Table) -> Generator<Row>`. To call it starts a task, which runs the body when an item is
/// asked for. The generator ends where its body ends, when its context is done, or when its handle is dropped; in the last
/// two cases the body is dropped wherever it waits, at a yield or at any other `.await`.
///
/// It does not run without a tokio runtime, does not borrow from its caller (its arguments and items are `'static`, and
/// `Send`), and adds no bound to a type parameter: `T: Send + 'static` is written by whoever needs it. All mistakes in a
/// function are reported together, each with the edit that mends it.
///
/// # Options
///
/// | written | means | if left out |
/// | --- | --- | --- |
/// | `cancellable` | the function takes a context, which ends the generator | only the handle ends it |
/// | `local` | the body's task stays on its thread: nothing need be `Send` | a task that may move |
/// | `inline` | no task: the body runs in its consumer, and may borrow | a task of its own |
/// | `blocking` | on a plain `fn`: the body runs on a thread of its own, and may block | it is an `async fn` |
/// | `buffer = N` | the body may be `N` items ahead of its consumer, and starts at once | 0: nothing runs ahead |
/// | `overflow = drop_oldest` or `drop_newest` | a yield that finds the buffer full drops the oldest item in it, or its own, and goes on | it waits for room |
/// | `name = "…"` | what reports call it | the function's name |
/// | `grace = limit` | how long the clean-ups may take in all, a `Duration` | 10 seconds |
/// | `crate = path` | where `ctx-runtime` is, if it was renamed or is re-exported | `::ctx_runtime` |
///
/// `N`, the name and the limit may be any expression, also one of the arguments. Of `local`, `inline` and `blocking` there is at most
/// one.
///
/// For what goes through the items of others (an adaptor), `inline` is the natural kind: it borrows, and needs no bounds. With a context it
/// needs hidden lifetimes written: `Iter<'_, u64>` for `Iter<u64>`.
///
/// `overflow` needs a `buffer`; what it drops is counted by the handle's `dropped()`, and the rest arrives in order. With `buffer = 1,
/// overflow = drop_oldest` a consumer that is slow gets the latest item.
///
/// # The context
///
/// With `cancellable`, the context is the argument marked `#[ctx]`; else the only one of type `Context` or `&Context` (as a
/// bare name or through this crate: `tera::Context`, written with its path, is another); else the one named `ctx`. In the
/// body that name stands for the generator's own context, a child of the caller's, which is done as soon as the generator
/// stops: what the body starts with it ends with it.
///
/// # The body
///
/// - `yield_!(item)` hands an item on and waits until the next one is asked for. It needs no import, and works wherever the
///   body's own code runs: in the arms of `select!`, in async blocks that are awaited or `join!`ed, among the arguments of
///   other macros, in one's own macros. It does not compile in a closure, in another function, or in what is spawned.
/// - `yield_all!(stream)` hands on every item of a stream, such as another generator. A generator may so call itself, without a box.
/// - `shield!(future)` awaits a future that the end of the generator does not interrupt: a cancel, or a dropped handle, waits until it
///   is over. A `yield_!` in it that comes after the end drops its item and returns. A section that has not begun then does not begin.
/// - `defer!(async move { .. })` has an async block run when the body is gone, whatever has ended it but the end of the runtime: the
///   last one first, and for as long as `grace` in all. What is in it is `'static` and, but with `local`, `Send`.
/// - `let mut conn = defer!(conn, async |conn: Conn| conn.close().await);` guards a value: `conn` derefs to it, and when it is dropped, at
///   the end of its scope or with the body, the closure is handed the value, and what that returns runs as a clean-up. A method will do for
///   the closure: `defer!(conn, Conn::close)`.
/// - `return;` ends the generator, as falling off the end does.
/// - Where the item is a `Result` (its type is a path that ends in `Result`), `yield_!` takes the `Result`, and an `Err`
///   that is yielded does not end the generator; `?` and `return Err(error)` yield the error and do. Inside the macros of
///   others (but `select!`, `join!` and those of std), where the attribute does not look, `return;` is `return Ok(());`.
/// - Every argument lives as long as the body, used or not.
///
/// The macros are the body's: where it has one of its own of the same name, that one counts, and one that was imported is called by
/// its path (`scopeguard::defer!`).
///
/// A method takes `self`, `self: Arc<Self>` or the like; for one that has only `&self`, a plain method clones and calls it.
///
/// # What is rewritten
///
/// | written | becomes |
/// | --- | --- |
/// | `async fn f(ctx: &Context, n: u64) -> T` | `fn f(ctx: &Context, n: u64) -> Generator<T>`, whose body is `Generator::builder().name("f").spawn(ctx, move \|ctx, co\| async move { .. })` |
/// | `ctx` in the body | the generator's own context, by value or by reference as the argument was |
/// | each other argument | `let n = n;` at the top of the body, so that it is moved there |
/// | `yield_!(v)`, `yield_all!(s)`, `shield!(f)`, `defer!(f)` | `co.yield_(v).await`, `co.yield_all(s).await`, `co.shield(f).await`, `co.defer(f)`, by `macro_rules!` at the top of the body |
/// | `let v = defer!(v, close)` | `let v = co.guard(v, close)` |
/// | a loop with a way round without a yield | the same, with `co.checkpoint().await;` as its first line |
/// | `return;` where the item is a `Result` | `return Ok(());` of a block of its own, whose error is yielded |
/// | `#[tracing::instrument]` below this attribute | the same on the function, and the body runs in its span |
///
/// All else stays as it is written, and so do its lines: `line!()` and a panic's place are the user's. `examples/expanded.rs` has generators
/// beside what they are rewritten to, by hand.
///
/// # Checkpoints
///
/// A loop that yields, or that has an `.await` of its own (in a `select!` or `join!`, too), looks at the end in each round, so that no body
/// keeps its thread for ever. A `yield_!` does that. Where some way round has none, the round begins with a checkpoint: a load, a decrement
/// and a branch; and now and then it gives way to the other tasks of its thread. So this body ends, though it finds nothing:
///
/// ```
/// use ctx_runtime::{Context, generator};
/// use std::time::Duration;
///
/// #[generator(cancellable)]
/// async fn rare(ctx: &Context, is_rare: fn(u64) -> bool) -> u64 {
///     let mut n = 0;
///     loop {
///         if is_rare(n) {
///             yield_!(n);
///         }
///         n += 1;
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A timer of the very thread that the body keeps busy.
/// let ctx = Context::background().with_timeout(Duration::from_millis(1));
/// assert_eq!(rare(&ctx, |_| false).next().await, None);
/// # }
/// ```
///
/// What counts as a yield is a `yield_!` that is written in the loop. An `.await` does not: what it awaits may always be ready; nor a
/// `yield_all!`, whose stream may be empty; nor what stands in a `select!`. A loop with neither a yield nor an `.await` is plain code and is left
/// alone, as is one in an async block without a yield, which may be another task's: where it can take long, `ctx.checkpoint().await` is for
/// the author to place. `#[no_checkpoint]` before a loop keeps its rounds as they are.
///
/// # What is dropped when
///
/// - The body, wherever it waits: when the handle is dropped, before that drop returns; when the context is done, by its own task or by the
///   consumer that asks next, never by who cancels. While it runs: at the end of that poll. In a `shield!`: when that is over.
/// - Its variables and arguments: with the body, in the order that any async block drops them, inside the generator's runtime.
/// - The item of a `yield_!` that was not accepted: with the body. One that was accepted reaches the consumer, unless the handle
///   is dropped.
/// - What `defer!` was given: it runs when the body is gone, and is dropped when it is done, when `grace` is over, or with the runtime.
///
/// # Clippy
///
/// These settings go well with generators:
///
/// ```toml
/// [lints.clippy]
/// await_holding_lock = "deny"         # a std lock held across a `yield_!` is held until the next item is asked for
/// await_holding_refcell_ref = "deny"
/// large_futures = "warn"              # a body is moved once, into its block
/// let_underscore_future = "deny"      # `let _ = generator.stop();` does nothing
/// ```
///
/// and in `clippy.toml`, so that nobody spawns what nobody ends:
///
/// ```toml
/// disallowed-methods = [{ path = "tokio::spawn", reason = "use `ctx.spawn`, which ends with the context" }]
/// ```
///
/// # Local
///
/// With `local` the function returns a `LocalGenerator<T>`, and is to be called within a `LocalSet` or a `LocalRuntime`: nothing in its
/// body, no item, and nothing that is handed to `defer!` need be `Send`. It owns its arguments as the others do.
///
/// # Inline
///
/// With `inline` the function returns an `Inline<T, impl Future>`, and nothing is started: the body runs in the poll of its
/// consumer, moves only while that asks, and needs no runtime of its own. It may borrow its arguments, `&self` and `&mut self`, and
/// so may its items; nothing need be `Send` or `'static`. Of a `&Context` a function keeps nothing: it may be gone before the
/// generator is. A method keeps it no longer than what it borrows besides. (A function without `self` in an `impl` that has parameters
/// takes its `Context` by value, or names `Self`: else rustc asks for parameters that the attribute cannot see. A method that a trait
/// declares, as one that returns `Inline<T, impl Future<Output = ()>>`, takes it by value, too: with a reference the two would differ
/// in their lifetimes.) It has neither `buffer`, `name` nor `grace`, and neither `shield!` nor `defer!`: when its consumer goes, nobody is
/// left to run what they hold.
///
/// # Blocking
///
/// With `blocking` a plain `fn` returns a `Generator<T>` whose body runs on a thread of its own: a walker, a parser, a driver that knows
/// no async. `yield_!` blocks until the next item is asked for. When the generator is stopped nothing can interrupt the body, so it ends at
/// its next yield, which leaves it there: its destructors run, and an `.await` is not to be had. So `yield_!` stands in the body's loops and
/// not in its closures. For callbacks there is the builder's `spawn_blocking`, whose `yield_` returns a `Result`.
///
/// It has no `grace`, and none of `yield_all!` (a `for` loop does it), `shield!` (nothing interrupts it) and `defer!` (a destructor may
/// block).
///
/// # Panics
///
/// The function that it makes panics, at the caller's line (but not with `inline`), outside a tokio runtime (with `local`, outside a
/// `LocalSet` and a `LocalRuntime`), if there is no memory for the buffer, or no thread, and if with `overflow` the buffer is 0 after
/// all.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, generator};
///
/// /// Counts up from `start` until the context is done.
/// #[generator(cancellable)]
/// async fn count(ctx: &Context, start: u64) -> u64 {
///     let mut n = start;
///     loop {
///         yield_!(n);
///         n += 1;
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (ctx, stop) = Context::background().with_cancel();
/// let mut numbers = count(&ctx, 7);
/// assert_eq!(numbers.next().await, Some(7));
/// assert_eq!(numbers.next().await, Some(8));
/// stop.cancel();
/// assert_eq!(numbers.next().await, None);
/// # }
/// ```
///
/// Items that may fail, one ahead of the consumer:
///
/// ```
/// use ctx_runtime::generator;
/// use std::num::ParseIntError;
///
/// #[generator(buffer = 1)]
/// async fn numbers(text: String) -> Result<u64, ParseIntError> {
///     for word in text.split_whitespace() {
///         if word == "end" {
///             return;
///         }
///         yield_!(Ok(word.parse()?));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut numbers = numbers("1 two 3".to_owned());
/// assert_eq!(numbers.next().await, Some(Ok(1)));
/// assert!(numbers.next().await.is_some_and(|second| second.is_err()));
/// assert_eq!(numbers.next().await, None);
/// # }
/// ```
///
/// One that borrows, without a task:
///
/// ```
/// use ctx_runtime::generator;
///
/// struct Table(Vec<u64>);
///
/// impl Table {
///     #[generator(inline)]
///     async fn rows(&self, limit: u64) -> &u64 {
///         for row in self.0.iter().filter(|row| **row < limit) {
///             yield_!(row);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let table = Table(vec![4, 40]);
/// let mut rows = table.rows(10);
/// assert_eq!(rows.next().await, Some(&4));
/// assert_eq!(rows.next().await, None);
/// # }
/// ```
///
/// Through another crate that re-exports this one:
///
/// ```
/// mod toolbox {
///     pub use ctx_runtime;
/// }
///
/// #[toolbox::ctx_runtime::generator(cancellable, crate = toolbox::ctx_runtime)]
/// async fn once(ctx: &toolbox::ctx_runtime::Context) -> u64 {
///     yield_!(1);
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(once(&toolbox::ctx_runtime::Context::background()).next().await, Some(1));
/// # }
/// ```
///
/// A tree, each branch a generator that is handed on:
///
/// ```
/// use ctx_runtime::{Context, generator};
///
/// struct Tree(u64, Vec<Tree>);
///
/// #[generator(cancellable)]
/// async fn walk(ctx: &Context, tree: Tree) -> u64 {
///     yield_!(tree.0);
///     for branch in tree.1 {
///         yield_all!(walk(ctx, branch));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let tree = Tree(1, vec![Tree(2, vec![Tree(3, vec![])]), Tree(4, vec![])]);
/// let mut numbers = walk(&Context::background(), tree);
/// for number in 1..=4 {
///     assert_eq!(numbers.next().await, Some(number));
/// }
/// # }
/// ```
///
/// A connection that is closed whatever happens, and a commit that is not left half done:
///
/// ```
/// use ctx_runtime::generator;
/// use std::io;
/// use std::time::Duration;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
///
/// #[generator(grace = Duration::from_secs(5))]
/// async fn bytes(connection: DuplexStream) -> io::Result<u8> {
///     defer!(async { println!("closed") });
///     let mut connection = defer!(connection, async |mut connection: DuplexStream| {
///         let _ = connection.shutdown().await;
///     });
///     loop {
///         let byte = connection.read_u8().await?;
///         shield!(connection.write_all(b"taken"))?;
///         yield_!(Ok(byte));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let (connection, mut peer) = tokio::io::duplex(64);
/// peer.write_u8(7).await?;
/// let mut bytes = bytes(connection);
/// assert_eq!(bytes.next().await.transpose()?, Some(7));
/// bytes.stop().await; // waits for the clean-ups
/// let mut heard = Vec::new();
/// peer.read_to_end(&mut heard).await?;
/// assert_eq!(heard, b"taken");
/// # Ok(())
/// # }
/// ```
///
/// What may not leave its thread:
///
/// ```
/// use ctx_runtime::generator;
/// use std::rc::Rc;
/// use tokio::task::LocalSet;
///
/// #[generator(local)]
/// async fn twice(text: Rc<str>) -> Rc<str> {
///     yield_!(Rc::clone(&text));
///     tokio::task::yield_now().await;
///     yield_!(text);
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let set = LocalSet::new();
/// let both = set.run_until(async {
///     let mut texts = twice("one".into());
///     (texts.next().await, texts.next().await)
/// });
/// assert_eq!(both.await, (Some("one".into()), Some("one".into())));
/// # }
/// ```
///
/// Code that blocks, on a thread of its own:
///
/// ```
/// use ctx_runtime::{Context, generator};
/// use std::fs;
/// use std::io;
/// use std::path::PathBuf;
///
/// /// All files in a folder and those in it.
/// #[generator(cancellable, blocking)]
/// fn files(ctx: &Context, root: PathBuf) -> io::Result<PathBuf> {
///     let mut folders = vec![root];
///     while let Some(folder) = folders.pop() {
///         for entry in fs::read_dir(folder)? {
///             let entry = entry?;
///             if entry.file_type()?.is_dir() {
///                 folders.push(entry.path());
///             } else {
///                 yield_!(Ok(entry.path()));
///             }
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let mut sources = files(&Context::background(), "src".into());
/// assert!(sources.next().await.transpose()?.is_some_and(|file| file.starts_with("src")));
/// # Ok(())
/// # }
/// ```
///
/// Readings of which a consumer that comes by now and then wants the latest:
///
/// ```
/// use ctx_runtime::generator;
/// use std::time::Duration;
/// use tokio::time::{interval, sleep};
///
/// #[generator(buffer = 1, overflow = drop_oldest)]
/// async fn seconds() -> u32 {
///     let mut clock = interval(Duration::from_secs(1));
///     for second in 0.. {
///         clock.tick().await;
///         yield_!(second);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let mut seconds = seconds();
/// sleep(Duration::from_millis(9_500)).await;
/// assert_eq!(seconds.next().await, Some(9));
/// assert_eq!(seconds.dropped(), 9);
/// # }
/// ```
///
/// A method, and the wrapper for those who have a reference:
///
/// ```
/// use ctx_runtime::{Context, Generator, generator};
///
/// #[derive(Clone)]
/// struct Table(Vec<u64>);
///
/// impl Table {
///     fn rows(&self, ctx: &Context) -> Generator<u64> {
///         self.clone().rows_owned(ctx)
///     }
///
///     #[generator(cancellable, name = "rows")]
///     async fn rows_owned(self, ctx: &Context) -> u64 {
///         for row in self.0 {
///             yield_!(row);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut rows = Table(vec![4]).rows(&Context::background());
/// assert_eq!(rows.name(), "rows");
/// assert_eq!(rows.next().await, Some(4));
/// # }
/// ```
#[proc_macro_attribute]
pub fn generator(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(args.into(), item.into()).into()
}

/// Makes a test of an `async fn` that takes a context: a tokio test that fails if it leaks.
///
/// The function is handed a context that is the root of a tree of its own, so tests that run in parallel do not see one
/// another. When it returns (or panics) that context is cancelled; the test fails, naming each, if a generator below it has not
/// ended within a second of the runtime's clock: where that is paused, no time at all.
///
/// The options are those of `tokio::test` (`flavor`, `worker_threads`, `start_paused`), which it expands to; so the crate
/// that has the test depends on tokio, with its features `macros` and `rt` (for `start_paused`, also `test-util`). With `crate = path`, as for
/// [`generator`](macro@generator), it finds `ctx-runtime` elsewhere. The function may return a `Result`.
///
/// Write it with its path: where `use ctx_runtime::*` has brought it in, a bare `#[test]` is ambiguous.
///
/// # Panics
///
/// The test panics with its body's panic; else if a generator stays.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, generator};
///
/// #[generator(cancellable)]
/// async fn count(ctx: &Context) -> u64 {
///     for n in 0.. {
///         yield_!(n);
///     }
/// }
///
/// #[ctx_runtime::test(start_paused = true)]
/// async fn counts_from_zero(ctx: Context) {
///     let mut numbers = count(&ctx);
///     assert_eq!(numbers.next().await, Some(0));
/// }
/// ```
#[proc_macro_attribute]
pub fn test(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    test::expand(args.into(), item.into()).into()
}

/// The whole way, with tokens that a test can make.
fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let source = match parse::parse(args, item) {
        Ok(source) => source,
        Err(item) => return item.into_tokens(),
    };
    match check::check(source) {
        Ok(generator) => emit::generator(&rewrite::rewrite(generator)),
        Err(refused) => emit::stub(*refused),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;
    use super::mutations::{BLOCKING, FUNCTION};
    use proc_macro2::{Group, TokenStream, TokenTree};

    /// What stands in an expansion may have the span of its macro, where `forbid(unsafe_code)` does not look.
    #[test]
    fn an_expansion_has_no_unsafe_code_of_its_own() {
        fn has_unsafe(tokens: TokenStream) -> bool {
            tokens.into_iter().any(|token| match token {
                TokenTree::Group(group) => has_unsafe(group.stream()),
                TokenTree::Ident(word) => word == "unsafe",
                _ => false,
            })
        }
        let safe = FUNCTION.replace("unsafe fn", "fn").replace("Err(io::Error::other(\"end\"))", "");
        for (args, function) in [
            ("cancellable, buffer = 1, overflow = drop_oldest, grace = LIMIT", &*safe),
            ("local, cancellable", &*safe),
            ("blocking, cancellable", BLOCKING),
            (
                "inline",
                "async fn letters(&self, text: &str) -> char { for c in text { if c { yield_!(c) } } }",
            ),
        ] {
            let expansion = expand(args.parse().unwrap(), function.parse().unwrap_or_default());
            assert!(!has_unsafe(expansion.clone()), "{expansion}");
        }
        assert!(has_unsafe(expand(TokenStream::new(), FUNCTION.parse().unwrap())));
    }

    /// Every version of the tokens that lacks one of them, at any depth.
    fn with_one_less(tokens: TokenStream) -> Vec<TokenStream> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut versions = Vec::new();
        for position in 0..tokens.len() {
            let (before, after) = (&tokens[..position], &tokens[position + 1..]);
            let around = |inside: Option<TokenTree>| {
                before.iter().cloned().chain(inside).chain(after.iter().cloned()).collect()
            };
            versions.push(around(None));
            if let TokenTree::Group(group) = &tokens[position] {
                for stream in with_one_less(group.stream()) {
                    versions.push(around(Some(Group::new(group.delimiter(), stream).into())));
                }
            }
        }
        versions
    }

    #[test]
    fn two_mistakes_in_one_policy_are_both_reported() {
        let messages = |args: &str| {
            let function = "async fn rows() -> u8 { yield_!(1); }".parse().unwrap();
            expand(args.parse().unwrap(), function).to_string()
        };
        let found = messages("buffer = 0, overflow = drop_last");
        assert!(found.contains("no overflow policy `drop_last`") && found.contains("has no room"), "{found}");
        let found = messages("overflow = drop_last");
        assert!(found.contains("no overflow policy `drop_last`") && found.contains("no buffer"), "{found}");
        // What may have been meant as the buffer is reported, and nothing because of it.
        for args in ["bufer = 4, overflow = drop_oldest", "buffer = \"4\", overflow = drop_oldest"] {
            assert_eq!(messages(args).matches("compile_error").count(), 1, "{args}");
        }
    }

    /// What an editor works with while a body is being written: the function that it is to be, and one error about what is missing.
    #[test]
    fn a_body_that_is_being_written_leaves_its_function_whole() {
        let heads = [
            (
                "cancellable",
                "pub async fn rows<T: Send + 'static, const N: usize>(self, ctx: &Context, mut rows: [T; N]) -> T where T: Clone",
                "pub fn rows<T: Send + 'static, const N: usize>(self, ctx: &Context, mut rows: [T; N]) \
                 -> ::ctx_runtime::Generator<T> where T: Clone",
            ),
            (
                "local, buffer = 4, crate = a::b",
                "pub(crate) async unsafe fn rows(self: Rc<Self>, (a, _): (u8, Rc<u8>)) -> io::Result<Rc<u8>>",
                "pub(crate) unsafe fn rows(self: Rc<Self>, (a, _): (u8, Rc<u8>)) \
                 -> a::b::LocalGenerator<io::Result<Rc<u8>>>",
            ),
            (
                "cancellable, inline",
                "async fn rows<'a>(&'a mut self, #[ctx] request: &Context, keep: impl Fn(&str) -> bool) -> &'a Row",
                "fn rows<'a>(&'a mut self, request: &Context, keep: impl Fn(&str) -> bool) \
                 -> ::ctx_runtime::Inline<&'a Row, ::core::future::Ready<()>>",
            ),
            (
                "blocking",
                "fn rows(#[cfg(unix)] root: PathBuf) -> <T as Walk>::Entry",
                "fn rows(#[cfg(unix)] root: PathBuf) -> ::ctx_runtime::Generator<<T as Walk>::Entry>",
            ),
        ];
        let bodies = [
            "let x = ",
            "let x = ; yield_!(x);",
            "yield_!(1); row.",
            "yield_!(1); row.next().await.",
            "yield_!(1); rows::",
            "for n in ",
            "for n in 0.. ",
            "if let Some(row) = ",
            "match row { Some() => }",
            "while ",
            "yield_",
            "yield_!",
            "let row: Vec<",
            "rows.iter().map(|row| )",
            "#[allow(unused)]",
            "fn helper",
            "1 +",
            "&",
        ];
        let written_alike = |function: &str| {
            let function: syn::ItemFn = syn::parse_str(function).unwrap();
            quote::quote!(#function).to_string()
        };
        for (args, head, made) in heads {
            let stub = written_alike(&format!("#[allow(unused)] {made} {{ ::core::unimplemented!() }}"));
            for body in bodies {
                // The brackets that are missing, as rustc puts them in.
                let missing = ")".repeat(body.matches('(').count() - body.matches(')').count());
                let function = format!("{head} {{ {body}{missing} }}");
                let found = expand(args.parse().unwrap(), function.parse().unwrap()).to_string();
                let (error, found_stub) = found.split_at(found.find("# [").unwrap());
                assert_eq!(error.matches("compile_error").count(), 1, "{body}: {error}");
                assert_eq!(written_alike(found_stub), stub, "{body}");
            }
        }
    }

    #[test]
    fn whatever_is_missing_there_is_an_expansion() {
        for (args, function) in [
            (r#"cancellable, buffer = 2 * N, overflow = drop_newest, name = "rows", crate = a::b"#, FUNCTION),
            ("local, grace = 2 * SECOND", FUNCTION),
            ("cancellable, inline", FUNCTION),
            ("blocking, cancellable", BLOCKING),
        ] {
            let (args, function): (TokenStream, TokenStream) =
                (args.parse().unwrap(), function.parse().unwrap());
            for args in with_one_less(args.clone()) {
                assert!(!expand(args, function.clone()).is_empty());
            }
            for function in with_one_less(function) {
                assert!(!expand(args.clone(), function).is_empty());
            }
            assert!(!expand(args, TokenStream::new()).is_empty());
        }
    }
}
