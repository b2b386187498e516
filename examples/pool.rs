//! A client with a pool of connections, whose pages are streamed by a method that borrows it: `inline`.
//!
//! The server here is a list in memory, in pages of three. What the example shows is the shape: `pages` borrows `self` and its
//! filter, needs no `Arc`, no `'static` and no task, holds a connection of the pool while it runs, and gives it back when it is dropped,
//! wherever it waits.
//!
//! ```text
//! cargo run --example pool
//! ```

use std::time::Duration;

use ctx_runtime::{Context, generator};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many rows the server sends at once.
const PAGE: usize = 3;

/// Gives out connections, so many at a time.
struct Client {
    permits: Semaphore,
    rows: Vec<String>,
}

/// A connection of the pool; it goes back when it is dropped.
struct Connection<'a> {
    client: &'a Client,
    _permit: SemaphorePermit<'a>,
}

impl Connection<'_> {
    /// The page that begins at `offset`, after the way there and back.
    async fn page(&mut self, offset: usize) -> &[String] {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let rows = &self.client.rows;
        &rows[offset.min(rows.len())..(offset + PAGE).min(rows.len())]
    }
}

impl Client {
    fn new(connections: usize, rows: impl IntoIterator<Item = String>) -> Self {
        Self { permits: Semaphore::new(connections), rows: rows.into_iter().collect() }
    }

    async fn connection(&self) -> Connection<'_> {
        let permit = self.permits.acquire().await.expect("the pool is never closed");
        Connection { client: self, _permit: permit }
    }

    /// The rows that contain `filter`, fetched page by page as they are asked for.
    #[generator(cancellable, inline)]
    async fn rows(&self, ctx: &Context, filter: &str) -> String {
        let mut connection = self.connection().await;
        let mut offset = 0;
        loop {
            let page = connection.page(offset).await.to_vec();
            if page.is_empty() {
                return;
            }
            offset += page.len();
            for row in page {
                if row.contains(filter) {
                    yield_!(row);
                }
            }
        }
    }
}

#[tokio::main]
async fn main() {
    let client = Client::new(1, (0..20).map(|n| format!("row {n}")));
    let ctx = Context::background().with_timeout(Duration::from_secs(5));
    let filter = String::from("1");

    let mut rows = client.rows(&ctx, &filter);
    while let Some(row) = rows.next().await {
        println!("{row}");
        if row == "row 12" {
            break;
        }
    }
    // With it goes its connection: the pool has but one.
    drop(rows);

    let mut rows = client.rows(&ctx, "row 1");
    println!("again, and first: {}", rows.next().await.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new(1, (0..10).map(|n| format!("row {n}")))
    }

    #[tokio::test]
    async fn the_rows_that_match_come_in_order() {
        let (client, filter) = (client(), String::from("row"));
        let ctx = Context::background();
        let mut rows = client.rows(&ctx, &filter);
        for n in 0..10 {
            assert_eq!(rows.next().await, Some(format!("row {n}")));
        }
        assert_eq!(rows.next().await, None);
    }

    #[tokio::test]
    async fn a_stream_that_is_left_gives_its_connection_back() {
        let client = client();
        let ctx = Context::background();
        for _ in 0..3 {
            let mut rows = client.rows(&ctx, "");
            assert_eq!(rows.next().await, Some(String::from("row 0")));
            assert_eq!(client.permits.available_permits(), 0);
            drop(rows);
            assert_eq!(client.permits.available_permits(), 1);
        }
    }

    #[tokio::test]
    async fn a_cancel_ends_one_that_waits_for_a_connection() {
        let client = client();
        let held = client.connection().await;
        let (ctx, stop) = Context::background().with_cancel();
        let mut rows = client.rows(&ctx, "");
        tokio::select! {
            biased;
            row = rows.next() => panic!("{row:?} without a connection"),
            () = async { stop.cancel() } => {}
        }
        assert_eq!(rows.next().await, None);
        drop(held);
        assert_eq!(client.permits.available_permits(), 1);
    }
}
