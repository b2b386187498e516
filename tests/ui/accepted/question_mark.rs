//! `?` in what returns for itself.

use ctx_runtime::generator;

#[generator]
pub async fn count(text: String) -> u64 {
    let parsed: Option<u64> = (|| text.strip_prefix('n')?.parse().ok())();
    if let Some(n) = parsed {
        yield_!(n);
    }
}
