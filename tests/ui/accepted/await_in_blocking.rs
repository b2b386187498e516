//! An await in a task that it starts, and in a block that it waits for.

use ctx_runtime::generator;
use tokio::runtime::Handle;

#[generator(blocking)]
pub fn count() -> u64 {
    let task = tokio::spawn(async {
        tokio::task::yield_now().await;
        1
    });
    let n = Handle::current().block_on(async { task.await.unwrap() });
    yield_!(n);
}
