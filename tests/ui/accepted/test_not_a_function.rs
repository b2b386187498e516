//! A function in a module, with attributes above and below.

mod tests {
    /// Documented.
    #[ctx_runtime::test]
    #[should_panic(expected = "on purpose")]
    async fn panics(_ctx: ctx_runtime::Context) {
        panic!("on purpose");
    }
}
