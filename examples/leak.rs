//! The same consumer of the same feed three times: with a spawned task and a channel, with a `select!` around the
//! `send` besides, and with a generator.
//!
//! The feed is a socket that brings three lines and then goes quiet, as a connection does whose other side has
//! nothing to say. In every round ten consumers take the three lines, wait in vain for a fourth, and leave. After
//! each round the program prints how many tasks are alive: of the first two versions ten more every time, although
//! nobody wants their lines any more; of the generators none.
//!
//! ```text
//! cargo run --example leak
//! ```

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use ctx_runtime::generator;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// As everybody writes it first.
///
/// The task notices that its consumer has left when it next sends. It never sends again: it waits for a line.
fn bare(feed: SocketAddr) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut lines = connect(feed).await?;
        while let Some(line) = lines.next_line().await? {
            if tx.send(line).await.is_err() {
                break;
            }
        }
        io::Result::Ok(())
    });
    rx
}

/// As one writes it who has seen that leak: whoever does not want the lines any more cancels the token.
///
/// The task looks at the token when it sends. It still waits for a line, and never looks.
fn selecting(feed: SocketAddr, stop: CancellationToken) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut lines = connect(feed).await?;
        while let Some(line) = lines.next_line().await? {
            tokio::select! {
                () = stop.cancelled() => break,
                sent = tx.send(line) => if sent.is_err() { break },
            }
        }
        io::Result::Ok(())
    });
    rx
}

/// The generator: its end reaches it at the yield and at the socket alike.
#[generator]
async fn generated(feed: SocketAddr) -> io::Result<String> {
    let mut lines = connect(feed).await?;
    while let Some(line) = lines.next_line().await? {
        yield_!(Ok(line));
    }
}

const ROUNDS: usize = 5;
const CONSUMERS: usize = 10;
/// How long a consumer waits for a fourth line before it leaves.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long the tasks have to end after a round before they are counted.
const SETTLE: Duration = Duration::from_millis(500);

async fn round_of_bare(feed: SocketAddr) {
    for _ in 0..CONSUMERS {
        let mut lines = bare(feed);
        for _ in 0..3 {
            lines.recv().await.expect("the feed brings three lines");
        }
        let _ = tokio::time::timeout(PATIENCE, lines.recv()).await;
    }
}

async fn round_of_selecting(feed: SocketAddr) {
    for _ in 0..CONSUMERS {
        let stop = CancellationToken::new();
        let _stop_on_drop = stop.clone().drop_guard();
        let mut lines = selecting(feed, stop);
        for _ in 0..3 {
            lines.recv().await.expect("the feed brings three lines");
        }
        let _ = tokio::time::timeout(PATIENCE, lines.recv()).await;
    }
}

async fn round_of_generated(feed: SocketAddr) -> io::Result<()> {
    for _ in 0..CONSUMERS {
        let mut lines = generated(feed);
        for _ in 0..3 {
            lines.next().await.expect("the feed brings three lines")?;
        }
        let _ = tokio::time::timeout(PATIENCE, lines.next()).await;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let feed = quiet_feed()?;
    // A runtime for each version, so that each has a count of its own.
    let runtimes = [Runtime::new()?, Runtime::new()?, Runtime::new()?];

    println!("tasks alive after each round of {CONSUMERS} consumers that have come and gone\n");
    println!("{:>5}  {:>12}  {:>12}  {:>12}", "round", "spawn + mpsc", "+ select!", "#[generator]");
    for round in 1..=ROUNDS {
        let [bare, selecting, generated] = play_round(&runtimes, feed, SETTLE)?;
        println!("{round:>5}  {bare:>12}  {selecting:>12}  {generated:>12}");
    }
    Ok(())
}

/// Lets ten consumers of each version come and go; how many tasks of each version are alive after it.
fn play_round(runtimes: &[Runtime; 3], feed: SocketAddr, patience: Duration) -> io::Result<[usize; 3]> {
    runtimes[0].block_on(round_of_bare(feed));
    runtimes[1].block_on(round_of_selecting(feed));
    runtimes[2].block_on(round_of_generated(feed))?;
    Ok(alive_after(runtimes, patience))
}

/// The runtimes' own count of their tasks, as soon as there are none left at all, else after `patience`.
fn alive_after(runtimes: &[Runtime; 3], patience: Duration) -> [usize; 3] {
    let give_up = Instant::now() + patience;
    loop {
        let alive = runtimes.each_ref().map(|runtime| runtime.metrics().num_alive_tasks());
        if alive == [0; 3] || Instant::now() >= give_up {
            return alive;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

async fn connect(feed: SocketAddr) -> io::Result<Lines<BufReader<TcpStream>>> {
    Ok(BufReader::new(TcpStream::connect(feed).await?).lines())
}

/// Serves three lines to whoever connects, and then neither another one nor the end.
///
/// On a thread, so that it does not count among the tasks.
fn quiet_feed() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let mut open = Vec::new();
        for client in listener.incoming() {
            let mut client = client?;
            client.write_all(b"one\ntwo\nthree\n")?;
            open.push(client);
        }
        io::Result::Ok(())
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_grow_with_every_round_and_the_generators_do_not() {
        let feed = quiet_feed().unwrap();
        let runtimes = [(); 3].map(|()| Runtime::new().unwrap());
        for round in 1..=2 {
            let alive = play_round(&runtimes, feed, Duration::from_secs(2)).unwrap();
            assert_eq!(alive, [round * CONSUMERS, round * CONSUMERS, 0]);
        }
    }
}
