//! Paths of every kind.

use ctx_runtime::generator;

mod here {
    pub use ctx_runtime as there;
}

#[generator(crate = ctx_runtime)]
pub async fn count() -> u64 {
    yield_!(0);
}

#[generator(crate = ::ctx_runtime)]
pub async fn absolute() -> u64 {
    yield_!(0);
}

#[generator(crate = self::here::there)]
pub async fn relative() -> u64 {
    yield_!(0);
}
