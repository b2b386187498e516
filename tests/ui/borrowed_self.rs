use ctx_runtime::{Context, generator};

#[derive(Clone)]
struct Table;

struct Row;

impl Table {
    #[generator(cancellable)]
    async fn rows(&self, ctx: &Context, limit: usize) -> Row {
        for _ in 0..limit {
            yield_!(Row);
        }
    }
}

#[tokio::main]
async fn main() {
    let mut rows = Table.rows(&Context::background(), 1);
    let _: Option<Row> = rows.next().await;
}
