//! Floats: what DataFusion's functions do with them, to the last bit.

use stagefuse_ir::abi::ErrorCode;

/// Negative zero becomes zero.
pub(super) fn trunc(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.trunc() }
}

pub(super) fn round(value: f64, digits: i64) -> f64 {
    let factor = 10_f64.powi(digits as i32);
    (value * factor).round() / factor
}

pub(super) fn signum(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

pub(super) fn power(base: f64, exponent: f64) -> Result<f64, ErrorCode> {
    if base == 0.0 && exponent < 0.0 { Err(ErrorCode::Function) } else { Ok(base.powf(exponent)) }
}

pub(super) fn trunc_digits(value: f64, digits: i64) -> f64 {
    let factor = 10_f64.powi(digits as i32);
    (value * factor).trunc() / factor
}

/// 10 to the power of `digits`, where that fits 128 bits.
fn power_of_ten(digits: i64) -> Option<i128> {
    10i128.checked_pow(u32::try_from(digits).ok()?)
}

/// A number with so many decimal digits from the end made zero.
pub(super) fn trunc_decimal(value: i128, digits: i64) -> i128 {
    match digits {
        ..=0 => value,
        _ => power_of_ten(digits).map_or(0, |factor| value / factor * factor),
    }
}

/// A number without so many decimal digits from the end, rounded half away from zero, and with so many zeros behind it.
pub(super) fn round_decimal(value: i128, digits: i64, zeros: i64) -> Option<i128> {
    let factor = power_of_ten(digits.max(0))?;
    let (quotient, remainder, half) = (value / factor, value % factor, factor / 2);
    let rounded = if factor == 1 {
        quotient
    } else if remainder >= half {
        quotient.checked_add(1)?
    } else if remainder <= -half {
        quotient.checked_sub(1)?
    } else {
        quotient
    };
    rounded.checked_mul(power_of_ten(zeros.max(0))?)
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

pub(super) fn gcd(a: i64, b: i64) -> Option<i64> {
    i64::try_from(common_divisor(a.unsigned_abs(), b.unsigned_abs())).ok()
}

pub(super) fn lcm(a: i64, b: i64) -> Option<i64> {
    let (a, b) = (a.unsigned_abs(), b.unsigned_abs());
    if a == 0 || b == 0 {
        return Some(0);
    }
    i64::try_from((a / common_divisor(a, b)).checked_mul(b)?).ok()
}

pub(super) fn factorial(of: i64) -> Option<i64> {
    if of < 0 { None } else { (2..=of.min(100)).try_fold(1i64, i64::checked_mul) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        assert_eq!(
            (gcd(48, -18), gcd(0, 0), gcd(i64::MIN, 6), gcd(i64::MIN, i64::MIN), gcd(i64::MIN, 0)),
            (Some(6), Some(0), Some(2), None, None)
        );
        assert_eq!((lcm(4, -6), lcm(0, i64::MIN), lcm(i64::MAX, 2), lcm(i64::MIN, 1)), (Some(12), Some(0), None, None));
        assert_eq!(
            (factorial(0), factorial(20), factorial(21), factorial(-1), factorial(i64::MAX)),
            (Some(1), Some(2_432_902_008_176_640_000), None, None, None)
        );
    }

    #[test]
    fn digits() {
        assert_eq!((trunc_digits(-1.987, 1), trunc_digits(1_234.5, -2)), (-1.9, 1_200.0));
        assert_eq!(
            (trunc_decimal(-12_345, 2), trunc_decimal(12_345, 0), trunc_decimal(12_345, 39), trunc_decimal(12_345, -3)),
            (-12_300, 12_345, 0, 12_345)
        );
        assert_eq!(
            (round_decimal(12_350, 2, 0), round_decimal(-12_350, 2, 2), round_decimal(49, 2, 2)),
            (Some(124), Some(-12_400), Some(0))
        );
        assert_eq!((round_decimal(12, 0, 1), round_decimal(i128::MAX, 1, 2), round_decimal(1, 40, 0)), (Some(120), None, None));
    }
}
