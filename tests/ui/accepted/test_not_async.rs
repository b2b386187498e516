//! A plain `fn` beside one that is.

#[ctx_runtime::test]
async fn counts(ctx: ctx_runtime::Context) {
    fn expected() -> bool {
        false
    }
    assert_eq!(ctx.is_done(), expected());
}
