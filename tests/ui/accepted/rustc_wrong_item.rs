//! Items that become what they should be: a coercion, an inferred type, a number without one.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> Box<dyn Fn() -> u64 + Send> {
    yield_!(Box::new(|| 0));
}

#[generator]
pub async fn collected() -> Vec<u8> {
    yield_!(Vec::new());
    yield_!((0..3).collect());
    yield_!("7".parse().into_iter().collect(),);
}
