//! A generator that would count for ever, stopped at 5 by its consumer.
//!
//! Prints the numbers 0 to 5, then how the generator ended (cancelled, and the source line that did it), then
//! how many generators are still alive: 0.
//!
//! ```text
//! cargo run --example take_five
//! ```

use std::time::Duration;

use ctx_runtime::{Context, End, generator};

/// Counts up from `start` until the context is done.
#[generator(cancellable)]
async fn count(ctx: &Context, start: u64) -> u64 {
    let mut n = start;
    loop {
        yield_!(n);
        n += 1;
    }
}

#[tokio::main]
async fn main() {
    let (ctx, stop) = Context::background().with_cancel();
    let mut numbers = count(&ctx, 0);
    while let Some(n) = numbers.next().await {
        println!("{n}");
        if n == 5 {
            stop.cancel();
        }
    }

    match numbers.stop().await {
        End::Cancelled(cause) => println!("Cancelled: {cause}"),
        end => println!("{end}"),
    }
    println!("{} alive", alive_after(&ctx, Duration::from_secs(1)).await);
}

/// How many generators are alive below `ctx`: 0 as soon as there are none, else what is left after `patience`.
async fn alive_after(ctx: &Context, patience: Duration) -> usize {
    let none_left = async {
        while !ctx.live().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Which of the two came first does not matter: what is alive now is the answer.
    let _ = tokio::time::timeout(patience, none_left).await;
    ctx.live().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn five_is_the_last_number_and_nothing_stays_alive() {
        let (ctx, stop) = Context::background().with_cancel();
        let mut numbers = count(&ctx, 0);
        let mut taken = Vec::new();
        let mut cancelled_at = 0;
        while let Some(n) = numbers.next().await {
            taken.push(n);
            if n == 5 {
                stop.cancel();
                cancelled_at = line!() - 1;
            }
        }
        assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
        let End::Cancelled(cause) = numbers.stop().await else { panic!("not cancelled") };
        assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), cancelled_at));
        assert_eq!(alive_after(&ctx, Duration::from_secs(10)).await, 0);
    }
}
