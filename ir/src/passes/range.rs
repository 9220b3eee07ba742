//! Intervals of 128-bit integers: what is known of a value.

use crate::types::{Repr, SqlType, Type};

/// The values that an integer, decimal, date or boolean may take, both ends included. Says nothing of nulls.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) lo: i128,
    pub(super) hi: i128,
}

/// 10 to the power of `exponent`, where 128 bits hold it.
pub(super) fn pow10(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

impl Range {
    /// Nothing is known.
    pub(super) const FULL: Range = Range { lo: i128::MIN, hi: i128::MAX };

    pub(super) const fn new(lo: i128, hi: i128) -> Self {
        Range { lo, hi }
    }

    /// One value.
    pub(super) const fn exact(value: i128) -> Self {
        Range::new(value, value)
    }

    /// Decimals of so many digits.
    pub(super) fn of_precision(precision: u8) -> Self {
        pow10(precision.into()).map_or(Range::FULL, |end| Range::new(1 - end, end - 1))
    }

    /// What a value of this type may be, when nothing else is known. A decimal may have more digits than its type says: arithmetic
    /// checks 128 bits only.
    pub(super) fn of_type(ty: Type) -> Self {
        match ty.sql {
            SqlType::Boolean => Range::new(0, 1),
            SqlType::Int8 => Range::new(i8::MIN.into(), i8::MAX.into()),
            SqlType::Int16 => Range::new(i16::MIN.into(), i16::MAX.into()),
            SqlType::Int32 | SqlType::Date32 | SqlType::IntervalMonths => Range::new(i32::MIN.into(), i32::MAX.into()),
            SqlType::Int64 => Range::new(i64::MIN.into(), i64::MAX.into()),
            SqlType::UInt8 => Range::new(0, u8::MAX.into()),
            SqlType::UInt16 => Range::new(0, u16::MAX.into()),
            SqlType::UInt32 => Range::new(0, u32::MAX.into()),
            SqlType::UInt64 => Range::new(0, u64::MAX.into()),
            SqlType::Decimal { .. } if ty.repr == Repr::I64 => Range::new(i64::MIN.into(), i64::MAX.into()),
            SqlType::Date64
            | SqlType::Time(_)
            | SqlType::Timestamp(_)
            | SqlType::Duration(_)
            | SqlType::Decimal32 { .. }
            | SqlType::Decimal64 { .. } => Range::new(i64::MIN.into(), i64::MAX.into()),
            SqlType::Decimal { .. } | SqlType::Float32 | SqlType::Float64 | SqlType::Utf8 | SqlType::Binary | SqlType::Host(_) => {
                Range::FULL
            }
        }
    }

    pub(super) fn within(self, outer: Range) -> bool {
        outer.lo <= self.lo && self.hi <= outer.hi
    }

    pub(super) fn fits_i64(self) -> bool {
        self.within(Range::new(i64::MIN.into(), i64::MAX.into()))
    }

    pub(super) fn union(self, other: Range) -> Range {
        Range::new(self.lo.min(other.lo), self.hi.max(other.hi))
    }

    /// What both allow. Where that is nothing, no such value ever comes about, and any answer is true: `bound`.
    pub(super) fn clip(self, bound: Range) -> Range {
        let (lo, hi) = (self.lo.max(bound.lo), self.hi.min(bound.hi));
        if lo <= hi { Range::new(lo, hi) } else { bound }
    }

    // Arithmetic: `None` where a result may be beyond 128 bits.

    pub(super) fn add(self, other: Range) -> Option<Range> {
        Some(Range::new(self.lo.checked_add(other.lo)?, self.hi.checked_add(other.hi)?))
    }

    pub(super) fn sub(self, other: Range) -> Option<Range> {
        Some(Range::new(self.lo.checked_sub(other.hi)?, self.hi.checked_sub(other.lo)?))
    }

    pub(super) fn mul(self, other: Range) -> Option<Range> {
        let first = self.lo.checked_mul(other.lo)?;
        let mut range = Range::exact(first);
        for (a, b) in [(self.lo, other.hi), (self.hi, other.lo), (self.hi, other.hi)] {
            range = range.union(Range::exact(a.checked_mul(b)?));
        }
        Some(range)
    }

    pub(super) fn neg(self) -> Option<Range> {
        Some(Range::new(self.hi.checked_neg()?, self.lo.checked_neg()?))
    }

    pub(super) fn abs(self) -> Option<Range> {
        let (a, b) = (self.lo.checked_abs()?, self.hi.checked_abs()?);
        let least = if self.lo <= 0 && self.hi >= 0 { 0 } else { a.min(b) };
        Some(Range::new(least, a.max(b)))
    }

    /// Quotient, truncated: a divisor is a whole number, so that no quotient is farther from zero than its dividend.
    pub(super) fn div(self, divisor: Range) -> Option<Range> {
        if divisor.lo >= 0 {
            return Some(Range::new(self.lo.min(0), self.hi.max(0)));
        }
        let farthest = self.abs()?.hi;
        Some(Range::new(-farthest, farthest))
    }

    /// Remainder with the sign of the dividend.
    pub(super) fn rem(self, divisor: Range) -> Option<Range> {
        // `None` only for the smallest integer, which is nearer to zero once divided.
        let below = divisor.abs().map_or(i128::MAX, |d| d.hi.saturating_sub(1).max(0));
        Some(Range::new(self.lo.min(0).max(-below), self.hi.max(0).min(below)))
    }

    /// Times 10 to the power of `shift`; where that is negative, rounded half away from zero.
    pub(super) fn rescale(self, shift: i32) -> Option<Range> {
        if shift >= 0 {
            return self.mul(Range::exact(pow10(shift.unsigned_abs())?));
        }
        let Some(divisor) = pow10(shift.unsigned_abs()) else { return Some(Range::new(-1, 1)) };
        let round = |value: i128| {
            let (quotient, rest) = (value / divisor, value % divisor);
            let up = rest.unsigned_abs() * 2 >= divisor.unsigned_abs();
            quotient + if up { rest.signum() } else { 0 }
        };
        // Rounding keeps the order.
        Some(Range::new(round(self.lo), round(self.hi)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation against all pairs of small numbers.
    #[test]
    fn arithmetic_covers_every_pair() {
        let ends: Vec<_> = (-4..=4).flat_map(|lo| (lo..=4).map(move |hi| Range::new(lo, hi))).collect();
        let covers = |range: Option<Range>, value: i128| Range::exact(value).within(range.unwrap());
        for a in &ends {
            for x in a.lo..=a.hi {
                assert!(covers(a.neg(), -x) && covers(a.abs(), x.abs()));
                for b in &ends {
                    for y in b.lo..=b.hi {
                        assert!(covers(a.add(*b), x + y) && covers(a.sub(*b), x - y) && covers(a.mul(*b), x * y));
                        if y != 0 {
                            assert!(covers(a.div(*b), x / y), "{a:?} / {b:?}");
                            assert!(covers(a.rem(*b), x % y), "{a:?} % {b:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn ends_of_128_bits() {
        let full = Range::FULL;
        assert_eq!(full.add(Range::exact(1)), None);
        assert_eq!(full.mul(Range::exact(1)), Some(full));
        assert_eq!(full.neg(), None);
        assert_eq!(full.div(Range::exact(1)), Some(full));
        assert_eq!(full.div(full), None);
        assert_eq!(full.rem(Range::new(0, 10)), Some(Range::new(-9, 9)));
        assert_eq!(full.rem(full), Some(Range::new(-i128::MAX, i128::MAX)));
        assert_eq!(full.clip(Range::new(1, 2)), Range::new(1, 2));
        assert_eq!(Range::new(5, 6).clip(Range::new(1, 2)), Range::new(1, 2));
    }

    #[test]
    fn rescaling_rounds_half_away_from_zero() {
        assert_eq!(Range::new(-15, 14).rescale(-1), Some(Range::new(-2, 1)));
        assert_eq!(Range::new(-15, 14).rescale(2), Some(Range::new(-1500, 1400)));
        assert_eq!(Range::FULL.rescale(1), None);
        assert_eq!(Range::FULL.rescale(-38), Some(Range::new(-2, 2)));
        assert_eq!(Range::FULL.rescale(-60), Some(Range::new(-1, 1)));
        assert_eq!(Range::new(0, 1).rescale(60), None);
    }
}
