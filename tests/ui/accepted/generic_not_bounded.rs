//! The bounds that a type parameter needs, in the list and after `where`.

use ctx_runtime::generator;

#[generator]
pub async fn once<T: Send + 'static>(value: T) -> T {
    yield_!(value);
}

#[generator]
pub async fn all<I>(values: I) -> I::Item
where
    I: IntoIterator<Item: Send, IntoIter: Send> + Send + 'static,
{
    for value in values {
        yield_!(value);
    }
}
