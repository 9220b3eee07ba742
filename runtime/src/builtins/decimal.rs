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
    if scaled.is_nan() || scaled.abs() >= 1.701_411_834_604_692_3e38 {
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
    use arrow::array::{AsArray, Decimal128Array, Float64Array};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Decimal128Type, Float64Type};

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

    fn random(state: &mut u64) -> u64 {
        *state = stagefuse_ir::abi::hash_word(*state, 1, 3).wrapping_add(1);
        *state
    }

    fn decimals(precision: u8, scale: i8, values: Vec<i128>) -> Decimal128Array {
        Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
    }

    #[test]
    fn rescaling_is_arrows_cast_of_decimals() {
        let mut state = 5;
        for _ in 0..2_000 {
            let (from_precision, to_precision) = (1 + (random(&mut state) % 38) as u8, 1 + (random(&mut state) % 38) as u8);
            let scale_of = |precision: u8, random: u64| (random % (u64::from(precision) + 1)) as i8;
            let (from, to) = (scale_of(from_precision, random(&mut state)), scale_of(to_precision, random(&mut state)));
            let limit = 10i128.pow(u32::from(from_precision));
            let mut values = vec![0, 1, -1, limit - 1, 1 - limit, limit / 2, -limit / 2];
            for _ in 0..20 {
                let wide = wide(random(&mut state), random(&mut state));
                values.push(wide % 10i128.pow(1 + (random(&mut state) % u64::from(from_precision)) as u32));
            }
            values.retain(|value| value.abs() < limit);
            let expected = cast(&decimals(from_precision, from, values.clone()), &DataType::Decimal128(to_precision, to)).unwrap();
            let expected = expected.as_primitive::<Decimal128Type>();
            for (value, expected) in values.iter().zip(expected) {
                let got = rescale(*value, i32::from(to) - i32::from(from), i32::from(to_precision));
                assert_eq!(got, expected, "{value} from ({from_precision}, {from}) to ({to_precision}, {to})");
            }
        }
    }

    #[test]
    fn floats_to_decimals_and_back_are_arrows_casts() {
        let mut state = 9;
        let mut floats =
            vec![0.0, -0.0, 0.5, -0.5, 2.5, 1e38, -1e38, 9.999e37, 1.7e38, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for _ in 0..500 {
            let exponent = (random(&mut state) % 40) as i32 - 5;
            floats.push((random(&mut state) as i64 as f64 / 2f64.powi(63)) * 10f64.powi(exponent));
            floats.push((random(&mut state) % 2_000_000) as f64 / 1000.0 - 1000.0);
        }
        for (precision, scale) in [(38, 0), (38, 10), (15, 2), (5, 3), (1, 0), (38, 38)] {
            let expected = cast(&Float64Array::from(floats.clone()), &DataType::Decimal128(precision, scale)).unwrap();
            for (value, expected) in floats.iter().zip(expected.as_primitive::<Decimal128Type>()) {
                assert_eq!(
                    f64_to_decimal_value(*value, i32::from(precision), i32::from(scale)),
                    expected,
                    "{value} to ({precision}, {scale})"
                );
            }
            let values: Vec<i128> = expected.as_primitive::<Decimal128Type>().iter().flatten().collect();
            let back = cast(&decimals(precision, scale, values.clone()), &DataType::Float64).unwrap();
            for (value, expected) in values.iter().zip(back.as_primitive::<Float64Type>().values()) {
                let (lo, hi) = (*value as u64, (*value >> 64) as u64);
                // SAFETY: the function is safe to call with any arguments.
                let got = unsafe { i128_to_f64(lo, hi, i32::from(scale)) };
                assert_eq!(got.to_bits(), expected.to_bits(), "{value} of scale {scale}");
            }
        }
    }
}
