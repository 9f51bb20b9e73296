//! Powers of one half in whole numbers, the same on every machine: what is left of past use, and what a share of use
//! is worth.

/// Fractional bits of an exponent.
pub const EXPONENT_BITS: u32 = 32;
/// Fractional bits of a result.
pub const FACTOR_BITS: u32 = 40;
/// The result for the exponent 0.
pub const ONE: u64 = 1 << FACTOR_BITS;

/// One half to the power of 1/2, 1/4, 1/8 …: each is the square root of the one before.
const ROOTS: [u128; EXPONENT_BITS as usize] = {
    let mut roots = [0; EXPONENT_BITS as usize];
    let mut last: u128 = 1 << (FACTOR_BITS - 1);
    let mut at = 0;
    while at < roots.len() {
        last = (last << FACTOR_BITS).isqrt();
        roots[at] = last;
        at += 1;
    }
    roots
};

/// One half to the power of `exponent`, which has [`EXPONENT_BITS`] bits behind the point.
pub fn half_to(exponent: u128) -> u64 {
    let whole = exponent >> EXPONENT_BITS;
    if whole >= u128::from(FACTOR_BITS) {
        return 0;
    }
    let bits = ROOTS.iter().zip(1..).filter(|(_, nth)| exponent >> (EXPONENT_BITS - nth) & 1 == 1);
    let fraction = bits.fold(u128::from(ONE), |product, (root, _)| (product * root) >> FACTOR_BITS);
    (fraction >> whole) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_to_is_right_to_nine_digits() {
        for exponent in [0.0, 1e-9, 0.001, 0.25, 0.5, 0.999, 1.0, 1.5, 7.3, 30.0, 41.0] {
            let ours = half_to((exponent * 2f64.powi(32)) as u128) as f64 / ONE as f64;
            assert!((ours - (-exponent).exp2()).abs() < 1e-9, "{exponent}: {ours}");
        }
    }
}
