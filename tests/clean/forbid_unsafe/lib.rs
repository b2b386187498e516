//! Where `unsafe` is forbidden, and nobody further in may allow it.

#![forbid(unsafe_code)]

#[path = "../kinds.rs"]
pub mod kinds;
