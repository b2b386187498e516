//! A context that is taken and not used.

#[ctx_runtime::test]
async fn counts(_: ctx_runtime::Context) {}
