//! A function that makes the clean-up; and a closure of the body, in which one can be asked for.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    async fn bye(n: u64) {
        tokio::task::yield_now().await;
        println!("bye {n}");
    }
    defer!(bye(0));
    let say = |n: u64| defer!(bye(n));
    (1..3).for_each(say);
    (3..5).for_each(|n| defer!(async move { bye(n).await }));
    yield_!(0);
}
