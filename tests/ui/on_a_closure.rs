use ctx_runtime::generator;

fn main() {
    let _count = #[generator]
    async || -> u64 { yield_!(0) };
}
