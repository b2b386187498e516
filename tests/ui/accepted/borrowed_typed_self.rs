//! `self` in what owns it.

use ctx_runtime::generator;
use std::pin::Pin;
use std::sync::Arc;

pub struct Table(u64);

impl Table {
    #[generator]
    pub async fn shared(self: Arc<Self>) -> u64 {
        yield_!(self.0);
    }

    #[generator]
    pub async fn boxed(self: Box<Self>) -> u64 {
        yield_!(self.0);
    }

    #[generator]
    pub async fn pinned(self: Pin<Arc<Self>>) -> u64 {
        yield_!(self.0);
    }

    #[generator]
    pub async fn lasting(&'static self) -> u64 {
        yield_!(self.0);
    }
}
