//! With the library as another one brings it along.

pub use facade::ctx_runtime as library;

include!("../paths.rs");
