//! In edition 2024.

#[path = "../kinds.rs"]
pub mod kinds;
