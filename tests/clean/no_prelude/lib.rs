//! Without the names that are there by themselves.

#![no_implicit_prelude]

pub use ::ctx_runtime as library;

include!("../paths.rs");
