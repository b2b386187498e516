#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod generator;
pub mod leak;
mod loom;
#[doc(hidden)]
pub mod private;
mod task;

pub use context::{Abandoned, AfterFunc, Canceller, Cause, Context, ContextError, Done, Finished};
pub use ctx_macros::{generator, test};
pub use generator::{
    BlockingYielder, Builder, End, Generator, Inline, LocalGenerator, LocalYielder, Overflow, Panic, Stopped,
    Yielder,
};
pub use task::Task;
