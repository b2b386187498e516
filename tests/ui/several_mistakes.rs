use ctx_runtime::{Context, generator};

struct Table;

impl Table {
    #[generator(cancellabel, buffer = "two", overflow = drop_first)]
    fn rows(&self, ctx: &Context, filter: &str) -> u64 {
        (0..3).for_each(|n| yield_!(n));
        return 7;
    }
}

#[tokio::main]
async fn main() {
    let mut rows = Table.rows(&Context::background(), "none");
    assert_eq!(rows.next().await, Some(0));
}
