use ctx_runtime::generator;

async fn save(n: u64) {
    println!("{n}");
}

#[generator]
async fn count() -> u64 {
    yield_!(0);
    (0..3).for_each(|n| shield!(save(n)));
}

#[tokio::main]
async fn main() {
    let mut numbers = count();
    let first: Option<u64> = numbers.next().await;
    assert_eq!(first, Some(0));
}
