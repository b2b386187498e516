use ctx_runtime::generator;

#[generator]
pub struct Numbers {
    pub first: u64,
}

fn main() {
    let numbers = Numbers { first: 0 };
    assert_eq!(numbers.first, 0);
}
