//! A web server with a feed of events: `/ticks` sends one every second, `/alive` tells how many feeds are running.
//!
//! Start it, open a feed or two, and watch `/alive` follow as clients come and go. On Ctrl-C the feeds end, so
//! the server does not wait for the last client to leave; without the context it would.
//!
//! ```text
//! cargo run --example sse
//! curl -N http://127.0.0.1:3000/ticks
//! curl http://127.0.0.1:3000/alive
//! ```

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use ctx_runtime::{Context, Generator, generator};
use tokio::net::TcpListener;

/// The feed of one client.
#[generator(cancellable)]
async fn ticks(ctx: &Context, every: Duration) -> Result<Event, Infallible> {
    let mut clock = tokio::time::interval(every);
    for n in 0_u64.. {
        clock.tick().await;
        yield_!(Ok(Event::default().data(format!("tick {n}"))));
    }
}

async fn feed(State((ctx, every)): State<(Context, Duration)>) -> Sse<Generator<Result<Event, Infallible>>> {
    Sse::new(ticks(&ctx, every))
}

async fn alive(State((ctx, _)): State<(Context, Duration)>) -> String {
    format!("{}\n", ctx.live().len())
}

/// Serves feeds until `ctx` is done, and ends them then. A client that leaves ends its own.
async fn serve(ctx: Context, listener: TcpListener, every: Duration) -> io::Result<()> {
    let shutdown = ctx.done();
    let app = Router::new().route("/ticks", get(feed)).route("/alive", get(alive)).with_state((ctx, every));
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let (ctx, stop) = Context::background().with_cancel();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/ticks", listener.local_addr()?);
    serve(ctx, listener, Duration::from_secs(1)).await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const NEVER: Duration = Duration::MAX;

    #[tokio::test]
    async fn a_client_that_is_killed_ends_its_feed() {
        let (ctx, _stop) = Context::background().with_cancel();
        let (address, _server) = start(&ctx, SOON).await;

        let mut client = Client::connect(address).await;
        assert_eq!(client.events(3).await, ["tick 0", "tick 1", "tick 2"]);
        assert_eq!(ctx.live().len(), 1);

        drop(client);
        until("the feed has ended", || ctx.live().is_empty()).await;
    }

    #[tokio::test]
    async fn a_client_that_is_killed_ends_its_feed_also_while_the_feed_is_quiet() {
        let (ctx, _stop) = Context::background().with_cancel();
        let (address, _server) = start(&ctx, NEVER).await;

        let mut client = Client::connect(address).await;
        // The first tick comes at once; from then on the feed waits for its clock.
        assert_eq!(client.events(1).await, ["tick 0"]);
        assert_eq!(ctx.live().len(), 1);

        drop(client);
        until("the feed has ended", || ctx.live().is_empty()).await;
    }

    #[tokio::test]
    async fn a_cancel_ends_the_feeds_and_then_the_server() {
        let (ctx, stop) = Context::background().with_cancel();
        let (address, server) = start(&ctx, NEVER).await;
        let mut client = Client::connect(address).await;
        assert_eq!(client.events(1).await, ["tick 0"]);

        stop.cancel();
        assert_eq!(client.rest().await, "0\r\n\r\n", "the response ends as a complete one does");
        in_time("the server has ended", server).await.unwrap().unwrap();
        assert!(ctx.live().is_empty());
    }

    async fn start(ctx: &Context, every: Duration) -> (SocketAddr, JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(ctx.clone(), listener, every)))
    }

    /// A browser, as far as a server can tell.
    struct Client(BufReader<TcpStream>);

    impl Client {
        async fn connect(address: SocketAddr) -> Self {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request =
                format!("GET /ticks HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            Self(BufReader::new(stream))
        }

        /// The data of the next `count` events, past the headers and whatever else stands between them.
        async fn events(&mut self, count: usize) -> Vec<String> {
            let mut events = Vec::new();
            while events.len() < count {
                let mut line = String::new();
                let read = in_time("an event comes", self.0.read_line(&mut line)).await.unwrap();
                assert_ne!(read, 0, "the server hung up after {events:?}");
                events.extend(line.strip_prefix("data: ").map(|data| data.trim_end().to_owned()));
            }
            // An event ends with an empty line, and the chunk that brought it with another.
            for _ in 0..2 {
                self.0.read_line(&mut String::new()).await.unwrap();
            }
            events
        }

        /// What comes until the server hangs up.
        async fn rest(&mut self) -> String {
            let mut rest = String::new();
            in_time("the server hangs up", self.0.read_to_string(&mut rest)).await.unwrap();
            rest
        }
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let met = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        in_time(what, met).await;
    }

    /// Real time, and plenty of it: only a failure waits that long.
    async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }
}
