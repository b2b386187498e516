//! Generators that another library's macros make, by one who does not depend on ours.

facade::counter! {
    /// Counts from seven on.
    #[derive(Clone, Debug)]
    pub struct Counter(u64), 7
}

facade::generator_of! {
    /// Numbers in a text.
    pub fn numbers(ctx, text: String) -> Result<u64, std::num::ParseIntError> {
        for word in text.split(' ') {
            if ctx.is_done() {
                return;
            }
            yield_!(Ok(word.parse()?));
        }
        defer!(async {});
    }
}
