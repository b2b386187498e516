//! What is nearly the mistake of the same name one folder up, and is none. It compiles without a warning.

#![deny(warnings)]
#![allow(dead_code, unreachable_pub)] // nothing here is called, and `pub` is as users write it

mod attribute_twice;
mod bare_yield;
mod borrowed_argument;
mod borrowed_item;
mod borrowed_lifetime;
mod borrowed_self;
mod borrowed_typed_self;
mod broken_body;
mod buffer_not_a_number;
mod cancellable_with_value;
mod const_fn;
mod context_without_cancellable;
mod crate_in_quotes;
mod duplicate_option;
mod extern_fn;
mod generator_returned;
mod inline_with_buffer;
mod inline_with_name;
mod inline_with_value;
mod misspelt_option;
mod name_not_a_string;
mod no_body;
mod no_context;
mod no_return_type;
mod no_yield;
mod not_a_function;
mod not_an_option;
mod not_async;
mod ok_value_returned;
mod option_in_parentheses;
mod option_without_value;
mod rustc_error_not_converted;
mod rustc_generic_not_send;
mod rustc_guard_over_await;
mod rustc_question_mark;
mod rustc_wrong_item;
mod stream_returned;
mod tail_err;
mod tail_ok;
mod test_not_a_function;
mod test_not_async;
mod test_without_context;
mod two_contexts;
mod two_marks;
mod unknown_option;
mod unnamed_item;
mod value_returned;
mod variadic_fn;
mod yield_in_closure;
mod yield_in_function;
mod yield_in_join_set;
mod yield_in_spawn;
mod yield_in_thread;
