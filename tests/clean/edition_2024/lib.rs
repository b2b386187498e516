//! In edition 2024.

#![deny(warnings)]

#[path = "../kinds.rs"]
pub mod kinds;
