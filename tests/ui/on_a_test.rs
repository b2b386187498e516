use ctx_runtime::generator;

#[generator]
#[tokio::test]
async fn counts() -> u64 {
    yield_!(0);
}

fn main() {}
