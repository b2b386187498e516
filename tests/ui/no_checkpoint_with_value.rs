use ctx_runtime::generator;

#[generator]
async fn count() -> u64 {
    #[no_checkpoint(always)]
    for n in 0..3 {
        yield_!(n);
    }
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
