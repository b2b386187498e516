use ctx_runtime::{Context, Inline, generator};

trait Rows {
    fn rows(&self, ctx: &Context) -> Inline<&u64, impl Future<Output = ()>>;
}

struct Table(Vec<u64>);

impl Rows for Table {
    #[generator(cancellable, inline)]
    async fn rows(&self, ctx: &Context) -> &u64 {
        for row in &self.0 {
            yield_!(row);
        }
    }
}

fn main() {}
