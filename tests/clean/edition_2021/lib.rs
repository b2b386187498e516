//! In edition 2021, and with what a move to 2024 would complain of.

#![deny(rust_2024_compatibility)]

#[path = "../kinds.rs"]
pub mod kinds;
