#[ctx_runtime::test]
async fn counts() {}

fn main() {}
