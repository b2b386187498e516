//! Every kind of generator, with each macro that a body has, as one writes them.

use ctx_runtime::{Context, Generator, generator};
use std::fmt::Display;
use std::num::ParseIntError;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// Counts up from `start` until the context is done.
#[generator(cancellable)]
pub async fn count(ctx: &Context, start: u64) -> u64 {
    let mut n = start;
    loop {
        yield_!(n);
        n += 1;
    }
}

/// One that does not look at its context.
#[generator(cancellable)]
pub async fn one(_ctx: &Context) -> u64 {
    yield_!(1);
}

/// One that reads from whatever it is lent.
#[generator(cancellable, inline)]
pub async fn bytes(_ctx: &Context, reader: &mut (impl std::io::Read + Unpin)) -> usize {
    let mut byte = [0];
    while let Ok(read) = reader.read(&mut byte) {
        if read == 0 {
            return;
        }
        yield_!(read);
    }
}

/// Nothing but items, and a loop that ends.
#[generator]
pub async fn below(limit: u64) -> u64 {
    for n in 0..limit {
        yield_!(n);
    }
}

/// A context by value, among others.
#[generator(cancellable, buffer = 2, name = "both")]
pub async fn both(#[ctx] ctx: Context, server: Context) -> bool {
    while !server.is_done() {
        yield_!(ctx.is_done());
    }
}

/// Options that are the caller's.
#[generator(buffer = ahead, overflow = drop_oldest, name = name, grace = Duration::from_millis(grace))]
pub async fn seconds(ahead: usize, name: &'static str, grace: u64) -> u32 {
    for second in 0.. {
        sleep(Duration::from_secs(1)).await;
        yield_!(second);
    }
}

/// Arguments of every shape.
#[generator]
pub async fn sums(
    mut total: u64,
    (first, _): (u64, String),
    [.., last]: [u64; 3],
    _unused: String,
    _: Vec<u8>,
    r#type: u64,
) -> u64 {
    for n in [first, last, r#type] {
        total += n;
        yield_!(total);
    }
}

/// Parameters of every sort.
#[generator(cancellable)]
pub async fn shown<T, const N: usize>(
    ctx: &Context,
    values: [T; N],
    prefix: &'static str,
    show: impl Fn(&T) -> String + Send + 'static,
) -> String
where
    T: Display + Send + 'static,
{
    for value in values {
        yield_!(format!("{prefix}{value} {}", show(&value)));
    }
}

/// Errors that end it, and errors that do not.
#[generator(cancellable)]
pub async fn parsed(ctx: &Context, texts: Vec<&'static str>) -> Result<u64, ParseIntError> {
    'texts: for text in texts {
        for word in text.split(' ') {
            match word {
                "end" => return,
                "ok" => return Ok(()),
                "err" => return "err".parse::<u64>().map(drop),
                "skip" => yield_!(word.parse()),
                "break" => break 'texts,
                "continue" => continue 'texts,
                _ => yield_!(Ok(word.parse()?)),
            }
        }
    }
}

/// Results without an end, and with a tail that is never reached.
#[generator]
pub async fn answers() -> std::io::Result<u64> {
    let mut n = 0;
    loop {
        yield_!(Ok(n));
        n += 1;
        if n > 9 {
            return Err(std::io::Error::other("too many"));
        }
    }
}

/// An error at the very end.
#[generator]
pub async fn failing() -> Result<u64, String> {
    yield_!(Ok(1));
    return Err("no more".to_owned());
}

/// What a match leaves, and what `if` and `else` do.
#[generator]
pub async fn either(first: Option<u64>) -> u64 {
    match first {
        Some(n) => yield_!(n),
        None => yield_!(0),
    }
    if first.is_some() { yield_!(1) } else { yield_!(2) }
}

/// A yield at the end, without a semicolon.
#[generator]
pub async fn last(ready: Arc<Mutex<Vec<u64>>>) -> usize {
    yield_!(ready.lock().map_or(0, |ready| ready.len()))
}

/// An end that is never reached.
#[generator]
pub async fn waiting(first: Option<u64>) -> Result<u64, String> {
    let Some(first) = first else { return };
    yield_!(Ok(first));
    std::future::pending().await
}

/// Yields at the same time, one after another, and in the arguments of macros.
#[generator(cancellable)]
pub async fn at_once(ctx: &Context) -> usize {
    tokio::select! {
        () = sleep(Duration::from_secs(1)) => yield_!(0),
        () = ctx.done() => return,
    }
    let ((), ()) = tokio::join!(async { yield_!(1) }, async {
        yield_!(2);
    });
    let text = format!("{:?}", vec![yield_!(3)]);
    yield_!(text.len());
}

/// A generator that calls itself.
#[generator(cancellable)]
pub async fn countdown(ctx: &Context, from: u64) -> u64 {
    yield_!(from);
    if from > 0 {
        yield_all!(countdown(ctx, from - 1));
    }
}

/// What is to be given up.
#[derive(Debug)]
pub struct Connection(Vec<u64>);

impl Connection {
    async fn ask(&mut self) -> Option<u64> {
        sleep(Duration::from_millis(1)).await;
        self.0.pop()
    }

    async fn close(self) {
        drop(self.0);
        sleep(Duration::from_millis(1)).await;
    }
}

/// What runs when the body is gone, and what the end waits for.
#[generator(cancellable, grace = Duration::from_secs(5))]
pub async fn rows(ctx: &Context, connection: Connection) -> u64 {
    defer!(async { sleep(Duration::from_millis(1)).await });
    let mut connection = defer!(connection, async |connection: Connection| connection.close().await);
    while let Some(row) = shield!(connection.ask()) {
        yield_!(row);
    }
    yield_all!(below(2));
}

/// The same, and errors.
#[generator(local, grace = Duration::from_secs(5))]
pub async fn checked_rows(connection: Connection) -> Result<Rc<u64>, ParseIntError> {
    let mut connection = defer!(connection, Connection::close);
    defer!(async move {});
    let last: u64 = "9".parse()?;
    while let Some(row) = shield!(connection.ask()) {
        yield_!(Ok(Rc::new(row)));
        if row == last {
            return;
        }
    }
}

/// What may not leave its thread.
#[generator(cancellable, local, buffer = 1, overflow = drop_newest, name = "shared")]
pub async fn shared(ctx: &Context, text: Rc<str>) -> Rc<str> {
    while !ctx.is_done() {
        yield_!(Rc::clone(&text));
    }
}

/// On a thread of its own, with loops in loops.
#[generator(cancellable, blocking, buffer = 2, overflow = drop_oldest, name = "pairs")]
pub fn pairs(ctx: &Context, limit: u64) -> (u64, u64) {
    'outer: for a in 0..limit {
        for b in 0..limit {
            if ctx.is_done() {
                return;
            }
            if a == b {
                continue 'outer;
            }
            yield_!((a, b));
        }
    }
}

/// On a thread of its own, and errors.
#[generator(blocking)]
pub fn numbers(texts: Vec<String>) -> Result<u64, ParseIntError> {
    for text in texts {
        match text.as_str() {
            "end" => return,
            "err" => return "err".parse::<u64>().map(drop),
            "skip" => yield_!(text.parse()),
            _ => yield_!(Ok(text.parse()?)),
        }
    }
}

/// On a thread of its own, for ever.
#[generator(blocking)]
pub fn endless(_unused: String) -> u64 {
    let mut n = 0;
    loop {
        yield_!(n);
        n += 1;
    }
}

/// Borrows what it is given.
#[generator(inline)]
pub async fn letters(text: &str) -> char {
    for letter in text.chars() {
        yield_!(letter);
    }
}

/// Borrows, and hands on what it has borrowed.
#[generator(cancellable, inline)]
pub async fn words(ctx: &Context, text: &str, keep: impl Fn(&str) -> bool) -> &str {
    for word in text.split(' ') {
        if keep(word) {
            yield_!(word);
        }
    }
}

/// Borrows under names of its own.
#[generator(cancellable, inline)]
pub async fn matching<'a, 'b, T: PartialEq, const N: usize>(
    ctx: &Context,
    values: &'a [T; N],
    wanted: &'b mut T,
) -> (&'a T, usize)
where
    'a: 'b,
{
    for (position, value) in values.iter().enumerate() {
        if value == wanted {
            yield_!((value, position));
        }
    }
}

/// Borrows, and errors.
#[generator(inline)]
pub async fn integers(texts: &[String]) -> Result<i64, ParseIntError> {
    for text in texts {
        if text == "end" {
            return;
        }
        yield_!(Ok(text.parse()?));
    }
    yield_all!(integers_below(3));
}

/// Handed on by another.
#[generator(inline)]
async fn integers_below(limit: i64) -> Result<i64, ParseIntError> {
    for n in 0..limit {
        yield_!(Ok(n));
    }
}

/// What has generators for methods.
#[derive(Clone, Debug)]
pub struct Table<T> {
    rows: Vec<T>,
}

impl<T: Clone + Send + Sync + 'static> Table<T> {
    /// Owns the table.
    #[generator]
    pub async fn into_rows(self) -> T {
        for row in self.rows {
            yield_!(row);
        }
    }

    /// Shares it.
    #[generator(cancellable, buffer = 1)]
    pub async fn shared_rows(self: Arc<Self>, ctx: &Context) -> T {
        for row in &self.rows {
            yield_!(row.clone());
        }
    }

    /// Has it in a box, on a thread of its own.
    #[generator(blocking)]
    pub fn boxed_rows(mut self: Box<Self>, more: T) -> T {
        self.rows.push(more);
        for row in self.rows {
            yield_!(row);
        }
    }

    /// For those who have a reference.
    pub fn cloned_rows(&self, ctx: &Context) -> Generator<T> {
        Arc::new(self.clone()).shared_rows(ctx)
    }

    /// Borrows it.
    #[generator(inline)]
    pub async fn rows(&self, from: usize) -> &T {
        for row in self.rows.iter().skip(from) {
            yield_!(row);
        }
    }

    /// Borrows it and what else it is given.
    #[generator(cancellable, inline)]
    pub async fn rows_from(&self, ctx: &Context, from: &mut usize) -> &T {
        while let Some(row) = self.rows.get(*from) {
            *from += 1;
            yield_!(row);
        }
    }

    /// Changes it.
    #[generator(cancellable, inline)]
    pub async fn drained(&mut self, ctx: Context, limit: usize) -> T {
        while self.rows.len() > limit && !ctx.is_done() {
            let Some(row) = self.rows.pop() else { return };
            yield_!(row);
        }
    }
}

/// What a trait asks for.
pub trait Rows {
    /// The rows.
    fn rows(self, ctx: &Context) -> Generator<u64>;

    /// The rows, each twice.
    #[generator(cancellable)]
    async fn doubled(self, ctx: &Context) -> u64
    where
        Self: Sized + Send + 'static,
    {
        let mut rows = self.rows(ctx);
        while let Some(row) = rows.next().await {
            yield_!(2 * row);
        }
    }
}

impl Rows for Table<u64> {
    #[generator(cancellable)]
    async fn rows(self, ctx: &Context) -> u64 {
        for row in self.rows {
            yield_!(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[ctx_runtime::test(start_paused = true)]
    async fn counts(ctx: Context) {
        assert_eq!(count(&ctx, 7).next().await, Some(7));
    }

    #[ctx_runtime::test]
    async fn tells(ctx: &Context) -> Result<(), ParseIntError> {
        let mut parsed = parsed(ctx, vec!["1"]);
        assert_eq!(parsed.next().await.transpose()?, Some(1));
        Ok(())
    }
}
