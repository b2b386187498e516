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

#[generator(blocking)]
pub fn hidden_in_plain_code() -> u64 {
    hand_on!(0);
}

#[generator(blocking)]
pub fn unwritten_in_plain_code() -> u64 {
    todo!()
}

#[generator(blocking)]
pub fn never_in_plain_code() -> Result<u64, std::num::ParseIntError> {
    if std::process::id() == 0 {
        yield_!("x".parse());
    }
    loop {
        std::thread::park();
    }
}

#[generator]
pub async fn all_of_another() -> u64 {
    yield_all!(hidden());
}

#[generator]
pub async fn in_a_section() -> u64 {
    shield!(async { yield_!(0) });
}
