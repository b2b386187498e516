//! The results of a set, in the order in which they are ready.

use ctx_runtime::generator;
use tokio::task::JoinSet;

#[generator]
pub async fn count() -> u64 {
    let mut set = JoinSet::new();
    for n in 0..3 {
        set.spawn(async move { n });
    }
    while let Some(n) = set.join_next().await {
        yield_!(n.unwrap());
    }
}
