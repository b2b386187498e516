//! A function in whatever a function can stand in.

use ctx_runtime::generator;

pub struct Numbers;

impl Numbers {
    #[generator]
    async fn rows() -> u64 {
        yield_!(0);
    }

    pub async fn first() -> Option<u64> {
        #[generator]
        async fn inner() -> u64 {
            yield_!(1);
        }
        inner().next().await.or(Self::rows().next().await)
    }
}
