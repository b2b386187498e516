//! A yield that a macro may hide, one that is never reached, and one still to be written.

use ctx_runtime::generator;

macro_rules! hand_on {
    ($item:expr) => {
        yield_!($item)
    };
}

#[generator]
pub async fn hidden() -> u64 {
    hand_on!(0);
}

#[generator]
pub async fn hidden_inside() -> u64 {
    macro_rules! twice {
        ($item:expr) => {
            yield_!($item);
            yield_!($item);
        };
    }
    twice!(0);
}

#[generator]
pub async fn never() -> u64 {
    if std::process::id() == 0 {
        yield_!(0);
    }
}

#[generator]
pub async fn unwritten() -> u64 {
    todo!()
}
