#[ctx_runtime::test]
fn counts(ctx: ctx_runtime::Context) {
    assert!(!ctx.is_done());
}

fn main() {}
