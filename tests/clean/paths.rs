// Every kind of generator, with each macro that a body has, where no name means what it usually does: whatever is not of the language
// itself has its full path, and the library is `crate::library`, as `crate = …` says.
//
// For `include!`, so that it stands among the names of whoever includes it.

/// What is to be given up.
pub struct Connection(u64);

impl Connection {
    async fn close(self) {
        ::tokio::time::sleep(::core::time::Duration::from_secs(self.0)).await;
    }
}

/// In a task of its own.
#[crate::library::generator(
    cancellable,
    buffer = 1,
    overflow = drop_oldest,
    name = "rows",
    grace = ::core::time::Duration::from_secs(1),
    crate = crate::library
)]
pub async fn rows(
    ctx: &crate::library::Context,
    connection: Connection,
    (step, _): (u64, u64),
    _unused: u64,
) -> u64 {
    defer!(async {});
    let mut connection = defer!(connection, async |connection: Connection| connection.close().await);
    'rows: loop {
        while !ctx.is_done() {
            connection.0 += shield!(async { step });
            yield_!(connection.0);
            if connection.0 > 9 {
                break 'rows;
            }
        }
    }
    yield_all!(below(2));
}

#[crate::library::generator(overflow = drop_newest, buffer = 2, crate = crate::library)]
async fn below(limit: u64) -> u64 {
    for n in 0..limit {
        yield_!(n);
    }
}

/// Errors, in a task of its own.
#[crate::library::generator(cancellable, crate = crate::library)]
pub async fn parsed(
    #[ctx] ctx: crate::library::Context,
    texts: [&'static str; 2],
) -> ::core::result::Result<u64, ::core::num::ParseIntError> {
    for text in texts {
        match text {
            "end" => return,
            "ok" => return ::core::result::Result::Ok(()),
            "skip" => yield_!(text.parse()),
            _ if ctx.is_done() => "x".parse().map(|_: u64| ())?,
            _ => yield_!(::core::result::Result::Ok(text.parse()?)),
        }
    }
    return "y".parse().map(|_: u64| ());
}

/// Errors of which the item's path does not tell the type.
#[crate::library::generator(crate = crate::library)]
pub async fn failing() -> ::std::io::Result<u64> {
    yield_!(::core::result::Result::Ok(1));
    return ::core::result::Result::Err(::std::io::Error::other("no more"));
}

/// On its thread.
#[crate::library::generator(cancellable, local, crate = crate::library)]
pub async fn shared(ctx: &crate::library::Context, text: ::std::rc::Rc<str>) -> ::std::rc::Rc<str> {
    defer!(async {});
    let text = defer!(text, |_| async {});
    while !shield!(async { ctx.is_done() }) {
        yield_!(::core::clone::Clone::clone(&*text));
    }
}

/// On a thread of its own.
#[crate::library::generator(cancellable, blocking, buffer = 1, crate = crate::library)]
pub fn pairs(ctx: &crate::library::Context, limit: u64) -> (u64, u64) {
    'outer: for a in 0..limit {
        for b in 0..limit {
            if ctx.is_done() {
                break 'outer;
            }
            yield_!((a, b));
        }
    }
}

/// Errors, on a thread of its own.
#[crate::library::generator(blocking, crate = crate::library)]
pub fn numbers(text: &'static str) -> ::core::result::Result<u64, ::core::num::ParseIntError> {
    loop {
        yield_!(::core::result::Result::Ok(text.parse()?));
        if text == "end" {
            return text.parse().map(|_: u64| ());
        }
    }
}

/// Borrows.
#[crate::library::generator(cancellable, inline, crate = crate::library)]
pub async fn matching<'a, T: ::core::cmp::PartialEq, const N: usize>(
    ctx: &crate::library::Context,
    values: &'a [T; N],
    wanted: &T,
    keep: impl ::core::ops::Fn(&T) -> bool,
) -> &'a T {
    for value in values {
        if value == wanted && keep(value) && !ctx.is_done() {
            yield_!(value);
        }
    }
}

/// Errors, and borrows.
#[crate::library::generator(inline, crate = crate::library)]
pub async fn integers(text: &str) -> ::core::result::Result<u64, ::core::num::ParseIntError> {
    yield_!(::core::result::Result::Ok(text.parse()?));
    if text == "0" {
        yield_all!(failing_integers(text));
    }
}

#[crate::library::generator(inline, crate = crate::library)]
async fn failing_integers(text: &str) -> ::core::result::Result<u64, ::core::num::ParseIntError> {
    yield_!(text.parse());
    return ::core::result::Result::Ok(());
}

/// What has generators for methods.
pub struct Table<T>(::std::vec::Vec<T>);

impl<T: ::core::marker::Send + ::core::marker::Sync + ::core::clone::Clone + 'static> Table<T> {
    /// Owns it.
    #[crate::library::generator(crate = crate::library)]
    pub async fn into_rows(self) -> T {
        for row in self.0 {
            yield_!(row);
        }
    }

    /// Shares it.
    #[crate::library::generator(cancellable, crate = crate::library)]
    pub async fn shared_rows(self: ::std::sync::Arc<Self>, ctx: &crate::library::Context) -> T {
        for row in &self.0 {
            yield_!(::core::clone::Clone::clone(row));
        }
    }

    /// Borrows it.
    #[crate::library::generator(inline, crate = crate::library)]
    pub async fn rows(&self) -> &T {
        for row in &self.0 {
            yield_!(row);
        }
    }

    /// Changes it.
    #[crate::library::generator(cancellable, inline, crate = crate::library)]
    pub async fn drained(&mut self, ctx: &crate::library::Context, limit: &usize) -> T {
        while self.0.len() > *limit {
            yield_!(self.0.remove(0));
        }
    }
}

#[cfg(test)]
mod tests {
    #[crate::library::test(crate = crate::library)]
    async fn yields(ctx: crate::library::Context) {
        ::core::assert!(super::below(1).next().await.is_some() && !ctx.is_done());
    }
}
