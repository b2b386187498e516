//! Generators as they are written with the attribute, and as a person would write them with the builder: what `#[generator]` makes of
//! the one is the other, but for paths that hold everywhere (`::ctx_runtime::Generator`, `::core::result::Result`).
//!
//! Prints what each of them yields, which is the same for both of a pair.
//!
//! ```text
//! cargo run --example expanded
//! ```

use std::num::ParseIntError;

use ctx_runtime::{Context, Generator, generator};

/// The even numbers of a text, one in a line, as far as its lines are numbers.
#[generator(cancellable)]
async fn even(ctx: &Context, text: String) -> Result<u64, ParseIntError> {
    for line in text.lines() {
        if line == "end" {
            return;
        }
        let n: u64 = line.parse()?;
        if n.is_multiple_of(2) {
            yield_!(Ok(n));
        }
    }
}

/// The same by hand.
///
/// - The item is what it was; around it is `Generator`.
/// - The context in the body is the generator's own, a child of the caller's. (It is by value here, where the attribute would make it
///   the reference that was written.)
/// - Each argument is moved into the body, used or not, so that it is dropped with it.
/// - A `yield_!` is `co.yield_(..).await`. The attribute writes it as a macro at the top of the body, so that it reaches into other macros.
/// - The loop has a way round without a yield (an odd number), so each round looks at the end first. Where every way yields there is
///   nothing to add.
/// - `?` and `return` end a block of its own, whose error is the last item.
#[track_caller]
fn even_by_hand(ctx: &Context, text: String) -> Generator<Result<u64, ParseIntError>> {
    Generator::builder().name("even").spawn(ctx, move |_ctx, co| async move {
        let result = async {
            for line in text.lines() {
                co.checkpoint().await;
                if line == "end" {
                    return Ok(());
                }
                let n: u64 = line.parse()?;
                if n.is_multiple_of(2) {
                    co.yield_(Ok(n)).await;
                }
            }
            Ok(())
        }
        .await;
        if let Err(error) = result {
            co.yield_(Err(error)).await;
        }
    })
}

/// The perfect squares up to a limit, found the slow way, on a thread of its own.
#[generator(blocking, buffer = 2)]
fn squares(limit: u64) -> u64 {
    for n in 0..=limit {
        if (0..=n).any(|root| root * root == n) {
            yield_!(n);
        }
    }
}

/// The same by hand: nothing can interrupt a thread, so a yield, and a checkpoint, tells when to leave.
#[track_caller]
fn squares_by_hand(limit: u64) -> Generator<u64> {
    Generator::builder().name("squares").buffer(2).spawn_blocking(
        &Context::background(),
        move |_, co| 'body: {
            for n in 0..=limit {
                if co.checkpoint().is_err() {
                    break 'body;
                }
                if (0..=n).any(|root| root * root == n) && co.yield_(n).is_err() {
                    break 'body;
                }
            }
        },
    )
}

/// A connection that says goodbye, with the attribute.
#[generator(cancellable)]
async fn greetings(ctx: &Context, names: Vec<&'static str>) -> String {
    defer!(async { println!("goodbye") });
    for name in names {
        yield_!(format!("hello {name}"));
    }
}

/// And by hand: the clean-up runs when the body is gone, whatever has ended it.
#[track_caller]
fn greetings_by_hand(ctx: &Context, names: Vec<&'static str>) -> Generator<String> {
    Generator::builder().name("greetings").spawn(ctx, move |_ctx, co| async move {
        co.defer(async { println!("goodbye") });
        for name in names {
            co.yield_(format!("hello {name}")).await;
        }
    })
}

async fn all<T: Send + 'static>(mut items: Generator<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(item) = items.next().await {
        all.push(item);
    }
    // Waits for its clean-ups, too.
    items.stop().await;
    all
}

#[tokio::main]
async fn main() {
    let ctx = Context::background();
    for text in ["1\n2\n4\nend\n6", "2\nthree\n4"] {
        println!("{:?}", all(even(&ctx, text.to_owned())).await);
        println!("{:?}", all(even_by_hand(&ctx, text.to_owned())).await);
    }
    println!("{:?}", all(squares(50)).await);
    println!("{:?}", all(squares_by_hand(50)).await);
    println!("{:?}", all(greetings(&ctx, vec!["Ada", "Ben"])).await);
    println!("{:?}", all(greetings_by_hand(&ctx, vec!["Ada", "Ben"])).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_of_a_pair_yield_the_same() {
        let ctx = Context::background();
        for text in ["", "1\n2\n4\nend\n6", "2\nthree\n4"] {
            let expected = all(even(&ctx, text.to_owned())).await;
            assert_eq!(all(even_by_hand(&ctx, text.to_owned())).await, expected);
        }
        assert_eq!(all(squares(50)).await, [0, 1, 4, 9, 16, 25, 36, 49]);
        assert_eq!(all(squares_by_hand(50)).await, all(squares(50)).await);
        let names = || vec!["Ada", "Ben"];
        assert_eq!(all(greetings_by_hand(&ctx, names())).await, all(greetings(&ctx, names())).await);
    }

    #[tokio::test]
    async fn both_of_a_pair_have_the_same_name() {
        let ctx = Context::background();
        assert_eq!(even_by_hand(&ctx, String::new()).name(), even(&ctx, String::new()).name());
        assert_eq!(squares_by_hand(1).name(), squares(1).name());
    }
}
