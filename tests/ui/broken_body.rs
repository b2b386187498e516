use ctx_runtime::{Context, Inline, LocalGenerator, generator};
use std::fmt::Display;

#[generator(cancellable)]
async fn count(ctx: &Context) -> u64 {
    yield_!(0);
    let next = ;
}

struct Table(Vec<String>);

trait Rows {
    fn rows(&self, ctx: Context) -> Inline<&String, impl Future<Output = ()>>;
}

impl Rows for Table {
    #[generator(cancellable, inline)]
    async fn rows(&self, ctx: Context) -> &String {
        for row in self. {
            yield_!(row);
        }
    }
}

#[generator(local)]
async fn shown<T: Display + 'static, const N: usize>(values: [T; N]) -> String {
    let mut values = values.
}

#[generator(blocking)]
fn halves(n: u64) -> Result<u64, String> {
    yield_!(Ok(n / 2));
    if n % 2 == {
        return;
    }
}

#[tokio::main]
async fn main() {
    let mut numbers = count(&Context::background());
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
    let table = Table(Vec::new());
    let row: Option<&String> = table.rows(Context::background()).next().await;
    assert_eq!(row, None);
    let mut values: LocalGenerator<String> = shown([1, 2]);
    let value: Option<String> = values.next().await;
    assert_eq!(value.as_deref(), Some("1"));
    let half: Option<Result<u64, String>> = halves(4).next().await;
    assert_eq!(half, Some(Ok(2)));
}
