use ctx_runtime::generator;

#[generator]
#[no_checkpoint]
async fn count() -> u64 {
    #[no_checkpoint]
    for n in 0..3 {
        yield_!(n);
    }
    #[no_checkpoint]
    {
        yield_!(3);
    }
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
