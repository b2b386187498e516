use ctx_runtime::{Context, generator};

struct Table(Vec<u64>);

impl Table {
    #[generator(cancellable, blocking)]
    fn rows(&self, ctx: &Context) -> u64 {
        for row in &self.0 {
            yield_!(*row);
        }
    }
}

#[tokio::main]
async fn main() {
    let mut rows = Table(vec![0]).rows(&Context::background());
    assert_eq!(rows.next().await, Some(0));
}
