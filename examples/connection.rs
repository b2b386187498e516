//! A connection that must be closed with a message, whoever ends the stream that uses it: `defer!`.
//!
//! A database's connection is given up by a word of farewell, for which one has to wait, and Rust's `Drop` cannot. Here a
//! cursor is read row by row over a TCP connection; when its consumer leaves, when its context is cancelled, and when the rows
//! are at an end, `close` is awaited, in the background, and for no longer than a second. A transaction that has begun is finished,
//! as it stands in a `shield!`.
//!
//! The server is a task of this program, and prints what it is told.
//!
//! ```text
//! cargo run --example connection
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ctx_runtime::{Context, generator};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A connection to the server; it is to be given up by [`close`](Self::close).
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(server: SocketAddr) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(server).await?)))
    }

    /// What the server answers.
    async fn ask(&mut self, question: &str) -> io::Result<String> {
        self.0.write_all(format!("{question}\n").as_bytes()).await?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).await?;
        Ok(answer.trim_end().to_owned())
    }

    /// Says goodbye, and waits until the server has heard it.
    async fn close(mut self) -> io::Result<()> {
        self.ask("close").await.map(drop)
    }
}

/// The rows of a table, until there are no more of them.
#[generator(cancellable, grace = Duration::from_secs(1))]
async fn rows(ctx: &Context, server: SocketAddr) -> io::Result<String> {
    let connection = Connection::open(server).await?;
    let mut connection = defer!(connection, async |connection: Connection| {
        if let Err(error) = connection.close().await {
            eprintln!("the connection was not closed: {error}");
        }
    });
    loop {
        // To be done altogether, or not at all.
        let row = shield!(async {
            connection.ask("begin").await?;
            let row = connection.ask("next").await?;
            connection.ask("commit").await?;
            io::Result::Ok(row)
        });
        let row = row?;
        if row == "none" {
            return;
        }
        yield_!(Ok(row));
    }
}

/// Answers one connection after another, and tells what it hears.
async fn serve(listener: TcpListener, words: mpsc::UnboundedSender<String>) -> io::Result<()> {
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(answer(connection, words.clone()));
    }
}

async fn answer(connection: TcpStream, words: mpsc::UnboundedSender<String>) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let (mut question, mut row) = (String::new(), 0);
    while connection.read_line(&mut question).await? > 0 {
        let answer = match question.trim_end() {
            "next" if row == 3 => String::from("none"),
            "next" => {
                row += 1;
                format!("row {row}")
            }
            _ => String::from("ok"),
        };
        let _ = words.send(question.trim_end().to_owned());
        connection.write_all(format!("{answer}\n").as_bytes()).await?;
        question.clear();
    }
    Ok(())
}

/// A server, and what it hears.
async fn server() -> io::Result<(SocketAddr, mpsc::UnboundedReceiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (words, heard) = mpsc::unbounded_channel();
    tokio::spawn(serve(listener, words));
    Ok((address, heard))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let (server, mut heard) = server().await?;
    let (ctx, stop) = Context::background().with_cancel();
    let mut rows = rows(&ctx, server);
    if let Some(row) = rows.next().await {
        println!("the consumer has got {} and leaves", row?);
    }
    drop(rows);
    // Waits for the farewell, too.
    stop.cancel_and_wait().await;
    while let Ok(word) = heard.try_recv() {
        println!("the server has heard: {word}");
    }
    println!("{} alive", ctx.live().len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server hears of one row.
    const ROW: [&str; 3] = ["begin", "next", "commit"];

    fn all(mut heard: mpsc::UnboundedReceiver<String>) -> Vec<String> {
        std::iter::from_fn(|| heard.try_recv().ok()).collect()
    }

    #[ctx_runtime::test]
    async fn the_connection_is_closed_when_the_rows_are_at_an_end(ctx: Context) {
        let (server, heard) = server().await.unwrap();
        let mut rows = rows(&ctx, server);
        for n in 1..=3 {
            assert_eq!(rows.next().await.unwrap().unwrap(), format!("row {n}"));
        }
        assert!(rows.next().await.is_none());
        rows.stop().await;
        assert_eq!(all(heard), [&ROW[..], &ROW, &ROW, &ROW, &["close"]].concat());
    }

    #[ctx_runtime::test]
    async fn the_connection_is_closed_when_the_consumer_leaves(ctx: Context) {
        let (server, heard) = server().await.unwrap();
        let (ctx, stop) = ctx.with_cancel();
        let mut rows = rows(&ctx, server);
        assert_eq!(rows.next().await.unwrap().unwrap(), "row 1");
        drop(rows);
        stop.cancel_and_wait().await;
        assert_eq!(all(heard), [&ROW[..], &["close"]].concat());
    }

    #[ctx_runtime::test]
    async fn a_cancel_in_a_transaction_waits_for_its_end_and_the_farewell(ctx: Context) {
        let (server, mut heard) = server().await.unwrap();
        let (ctx, stop) = ctx.with_cancel();
        let mut rows = rows(&ctx, server);
        let asked = tokio::spawn(async move { rows.next().await });
        assert_eq!(heard.recv().await.unwrap(), "begin");
        stop.cancel_and_wait().await;
        assert!(asked.await.unwrap().is_none());
        assert_eq!(all(heard), ["next", "commit", "close"]);
    }

    #[ctx_runtime::test]
    async fn a_server_that_is_not_there_is_the_first_row(ctx: Context) {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut rows = rows(&ctx, nobody);
        assert_eq!(rows.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(rows.next().await.is_none());
    }
}
