//! A yield beside a clean-up, and in what makes one.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    defer!({
        yield_!(0);
        async {}
    });
    let mut sum = defer!(
        {
            yield_!(1);
            1_u64
        },
        async |sum: u64| println!("{sum}")
    );
    *sum += 1;
    yield_!(*sum);
}
