//! Parts of a whole, in whole numbers: decisions must not depend on how a machine rounds.

/// The whole of something, as shares are counted.
pub(crate) const WHOLE: u64 = 1 << 20;

/// In 1/2²⁰; of nothing it is nothing.
pub(crate) fn share(part: u64, whole: u64) -> u64 {
    // Wide numbers divide slowly, and are rare.
    match part.checked_mul(WHOLE) {
        Some(parts) => parts.checked_div(whole).unwrap_or(0),
        None => (u128::from(part) << 20).checked_div(u128::from(whole)).unwrap_or(0) as u64,
    }
}
