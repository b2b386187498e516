//! A generator of generators, by a name of its own.

use ctx_runtime::{Generator, generator};

type Page = Generator<u64>;

#[generator]
pub async fn pages() -> Page {
    #[generator]
    async fn page() -> u64 {
        yield_!(0);
    }
    yield_!(page());
}

#[generator]
pub async fn last_page() -> Option<Generator<u64>> {
    yield_!(None);
}
