#[ctx_runtime::test]
mod tests {}

fn main() {}
