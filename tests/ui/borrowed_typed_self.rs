use ctx_runtime::generator;
use std::sync::Arc;

struct Table;

impl Table {
    #[generator]
    async fn rows(self: &Arc<Self>) -> u64 {
        yield_!(0);
    }
}

#[tokio::main]
async fn main() {
    let mut rows = Arc::new(Table).rows();
    assert_eq!(rows.next().await, Some(0));
}
