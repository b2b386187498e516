//! What the expansion of the attribute refers to beyond the public names. Not for anybody else.

/// Takes an item type apart that is a `Result`, also where a path to it leaves the error type unsaid.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    note = "a generator whose item type is a path that ends in `Result` yields errors with `?`: that takes `core::result::Result`"
)]
pub trait ResultItem {
    type Ok;
    type Error;

    fn from_error(error: Self::Error) -> Self;
}

impl<T, E> ResultItem for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn from_error(error: E) -> Self {
        Err(error)
    }
}
