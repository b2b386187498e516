//! With the library under a name of one's own, as `crate = …` says it.

pub use ::renamed as library;

include!("../paths.rs");
