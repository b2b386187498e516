//! A guard in the item of a yield: it is gone before the wait.

use ctx_runtime::generator;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvError};

#[generator]
pub async fn count(numbers: Mutex<Vec<u64>>) -> u64 {
    yield_!(numbers.lock().unwrap()[0]);
    yield_!(*numbers.lock().unwrap().last().unwrap());
}

#[generator]
pub async fn last(numbers: Receiver<u64>) -> Result<u64, RecvError> {
    yield_!(numbers.recv());
    yield_!(Ok(numbers.recv()?));
}
