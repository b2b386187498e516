//! An overflow of one's own within the body.

use ctx_runtime::generator;

#[generator(inline)]
pub async fn bytes(numbers: &[u8]) -> Option<u8> {
    for number in numbers {
        let (double, overflow) = number.overflowing_mul(2);
        yield_!((!overflow).then_some(double));
    }
}
