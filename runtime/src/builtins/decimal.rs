//! 128-bit arithmetic that Cranelift has no instruction sequence for, and casts of decimals.

use super::{put, wide};

/// 10 to the power of `exponent`, where it fits.
fn power_of_ten(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// Whether a value has at most `precision` digits.
fn fits(value: i128, precision: i32) -> bool {
    power_of_ten(precision as u32).is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs())
}

/// Multiplies by 10 to the power of `shift` (divides, rounding half away from zero, where it is negative) and checks the number of digits: a cast of Arrow's.
pub(crate) fn rescale(value: i128, shift: i32, precision: i32) -> Option<i128> {
    let scaled = if shift >= 0 {
        value.checked_mul(power_of_ten(shift as u32)?)?
    } else {
        match power_of_ten(shift.unsigned_abs()) {
            // More digits are cut than there can be.
            None => 0,
            Some(divisor) => {
                let (quotient, remainder) = (value / divisor, value % divisor);
                let half = divisor / 2;
                if remainder >= half {
                    quotient + 1
                } else if remainder <= -half {
                    quotient - 1
                } else {
                    quotient
                }
            }
        }
    };
    fits(scaled, precision).then_some(scaled)
}

/// A float as a decimal, rounded half away from zero.
pub(crate) fn f64_to_decimal_value(value: f64, precision: i32, scale: i32) -> Option<i128> {
    let scaled = (value * 10f64.powi(scale)).round();
    // The float 2^127 is the first that does not fit.
    if !(scaled.abs() < 1.701_411_834_604_692_3e38) {
        return None;
    }
    Some(scaled as i128).filter(|value| fits(*value, precision))
}

pub(super) unsafe extern "C" fn i128_mul(out: *mut u8, a_lo: u64, a_hi: u64, b_lo: u64, b_hi: u64) -> i32 {
    let (product, overflow) = wide(a_lo, a_hi).overflowing_mul(wide(b_lo, b_hi));
    // SAFETY: `out` has room for 16 bytes.
    unsafe { put(out, product) }
    i32::from(overflow)
}

pub(super) unsafe extern "C" fn i128_div(out: *mut u8, a_lo: u64, a_hi: u64, b_lo: u64, b_hi: u64) -> i32 {
    // SAFETY: `out` has room for 16 bytes. The wrapping form spares a panic if the caller's check were missing but for zero, where it checks too.
    unsafe { put(out, wide(a_lo, a_hi).checked_div(wide(b_lo, b_hi)).unwrap_or(0)) }
    0
}

pub(super) unsafe extern "C" fn i128_rem(out: *mut u8, a_lo: u64, a_hi: u64, b_lo: u64, b_hi: u64) -> i32 {
    // SAFETY: `out` has room for 16 bytes.
    unsafe { put(out, wide(a_lo, a_hi).checked_rem(wide(b_lo, b_hi)).unwrap_or(0)) }
    0
}

pub(super) unsafe extern "C" fn i128_to_f64(lo: u64, hi: u64, scale: i32) -> f64 {
    wide(lo, hi) as f64 / 10f64.powi(scale)
}

pub(super) unsafe extern "C" fn f64_to_decimal(out: *mut u8, value: f64, precision: i32, scale: i32) -> i32 {
    let decimal = f64_to_decimal_value(value, precision, scale);
    // SAFETY: `out` has room for 16 bytes.
    unsafe { put(out, decimal.unwrap_or(0)) }
    i32::from(decimal.is_none())
}

pub(super) unsafe extern "C" fn decimal_rescale(out: *mut u8, lo: u64, hi: u64, shift: i32, precision: i32) -> i32 {
    let decimal = rescale(wide(lo, hi), shift, precision);
    // SAFETY: `out` has room for 16 bytes.
    unsafe { put(out, decimal.unwrap_or(0)) }
    i32::from(decimal.is_none())
}

pub(super) unsafe extern "C" fn f64_rem(a: f64, b: f64) -> f64 {
    a % b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_half_away_from_zero() {
        assert_eq!(rescale(125, -1, 10), Some(13));
        assert_eq!(rescale(-125, -1, 10), Some(-13));
        assert_eq!(rescale(124, -1, 10), Some(12));
        assert_eq!(rescale(99, 1, 3), Some(990));
        assert_eq!(rescale(100, 1, 3), None);
        assert_eq!(rescale(i128::MAX, 1, 38), None);
        assert_eq!(rescale(i128::MAX, -60, 38), Some(0));
    }
}
