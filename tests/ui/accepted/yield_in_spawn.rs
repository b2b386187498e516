//! What is spawned does not yield; and what it is called with may.

use ctx_runtime::generator;
use tokio::sync::mpsc;

#[generator]
pub async fn count() -> u64 {
    let (sender, mut receiver) = mpsc::channel(1);
    tokio::spawn(async move { sender.send(1).await });
    while let Some(n) = receiver.recv().await {
        yield_!(n);
    }
    let task = tokio::spawn({
        yield_!(2);
        std::future::ready(3)
    });
    yield_!(task.await.unwrap());
}
