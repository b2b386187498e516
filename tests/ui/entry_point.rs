use ctx_runtime::generator;

#[generator]
async fn main() -> u64 {
    yield_!(0);
}
