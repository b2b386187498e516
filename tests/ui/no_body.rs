use ctx_runtime::{Context, generator};

trait Table {
    #[generator(cancellable)]
    async fn rows(self, ctx: Context) -> u64;
}

#[tokio::main]
async fn main() {}

async fn first(table: impl Table) -> Option<u64> {
    table.rows(Context::background()).next().await
}
