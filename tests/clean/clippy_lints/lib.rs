//! Under clippy's stricter groups.

#![deny(clippy::all, clippy::nursery, clippy::pedantic)]

#[path = "../kinds.rs"]
pub mod kinds;
