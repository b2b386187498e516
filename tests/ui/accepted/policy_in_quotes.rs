//! The policy of a generator that a macro makes, whose words come in groups that nobody sees.

macro_rules! latest {
    ($name:ident, $policy:ident) => {
        #[ctx_runtime::generator(buffer = 1, overflow = $policy)]
        pub async fn $name() -> u64 {
            yield_!(0);
        }
    };
}

latest!(oldest, drop_oldest);
latest!(newest, drop_newest);

macro_rules! of_expression {
    ($name:ident, $policy:expr) => {
        #[ctx_runtime::generator(buffer = 1, overflow = $policy)]
        pub async fn $name() -> u64 {
            yield_!(0);
        }
    };
}

of_expression!(expression, drop_oldest);
