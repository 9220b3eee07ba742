//! Points in time, in the Gregorian calendar without end in the past, as far as Arrow's kernels know it.

use arrow::array::timezone::Tz;
use arrow::datatypes::{
    Date32Type, IntervalMonthDayNano, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use stagefuse_ir::{TimePart, TimeUnit};

const DAY: i64 = 86_400;

/// Days since 1970-01-01 that Arrow has a date for: -262143-01-01 to 262142-12-31.
const CALENDAR: std::ops::RangeInclusive<i64> = -96_465_292..=95_026_236;

/// Day, seconds of the day, and nanoseconds of the second of a point in time. `per_second` is 0 where it counts days; `None` where it is no unit of time
/// at all, which no front end asks for, but a program's text may.
fn split(time: i64, per_second: i64) -> Option<(i64, i64, i64)> {
    if per_second == 0 {
        return Some((time, 0, 0));
    }
    if !TimeUnit::ALL.iter().any(|unit| unit.per_second() == per_second) {
        return None;
    }
    let (seconds, rest) = (time.div_euclid(per_second), time.rem_euclid(per_second));
    Some((seconds.div_euclid(DAY), seconds.rem_euclid(DAY), rest * (1_000_000_000 / per_second)))
}

/// Year, month and day of the month of a day, counted in eras of 400 years that begin in March.
fn civil(day: i64) -> (i64, i64, i64) {
    let days = day + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// The day that begins a month.
fn first_of(year: i64, month: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 - 719_468
}

/// Year and week by ISO 8601: a week belongs to the year of its Thursday.
fn iso_week(day: i64) -> (i64, i64) {
    let thursday = day - (day + 3).rem_euclid(7) + 3;
    let year = civil(thursday).0;
    (year, (thursday - first_of(year, 1)) / 7 + 1)
}

/// A part of a point in time; `None` beyond the calendar.
pub(super) fn part(time: i64, per_second: i64, part: i64) -> Option<i64> {
    let part = *TimePart::ALL.get(usize::try_from(part).ok()?)?;
    let (day, second, nanos) = split(time, per_second)?;
    if per_second == 0 && matches!(part, TimePart::Hour | TimePart::Minute | TimePart::Second) {
        return Some(0);
    }
    if !CALENDAR.contains(&day) {
        return None;
    }
    let of_minute = |unit: i64| second % 60 * unit + nanos / (1_000_000_000 / unit);
    Some(match part {
        TimePart::Year => civil(day).0,
        TimePart::Quarter => (civil(day).1 + 2) / 3,
        TimePart::Month => civil(day).1,
        TimePart::Week => iso_week(day).1,
        TimePart::Day => civil(day).2,
        TimePart::DayFromSunday => (day + 4).rem_euclid(7),
        TimePart::IsoDay => (day + 3).rem_euclid(7) + 1,
        TimePart::DayOfYear => day - first_of(civil(day).0, 1) + 1,
        TimePart::IsoYear => iso_week(day).0,
        TimePart::Hour => second / 3_600,
        TimePart::Minute => second / 60 % 60,
        TimePart::Second => second % 60,
        TimePart::Milliseconds => of_minute(1_000),
        TimePart::Microseconds => of_minute(1_000_000),
        TimePart::Nanoseconds => of_minute(1_000_000_000),
    })
}

/// The start of a year, quarter, month or week. DataFusion goes through nanoseconds: `None` where they do not fit.
pub(super) fn trunc(time: i64, per_second: i64, part: i64) -> Option<i64> {
    let part = *TimePart::ALL.get(usize::try_from(part).ok()?)?;
    let (day, second, nanos) = split(time, per_second)?;
    let whole_day = i128::from(day) * i128::from(DAY) + i128::from(second);
    i64::try_from(whole_day * 1_000_000_000 + i128::from(nanos)).ok()?;
    let (year, month, day_of_month) = civil(day);
    let start = match part {
        TimePart::Week => day - (day + 3).rem_euclid(7),
        TimePart::Month => day - (day_of_month - 1),
        TimePart::Quarter => first_of(year, 1 + 3 * ((month - 1) / 3)),
        _ => first_of(year, 1),
    };
    start.checked_mul(DAY * 1_000_000_000)?;
    Some(if per_second == 0 { start } else { start * DAY * per_second })
}

/// The day of a point in time.
pub(super) fn day(time: i64, per_second: i64) -> Option<i64> {
    Some(split(time, per_second)?.0).filter(|day| CALENDAR.contains(day))
}

/// Days of a month.
fn days_of(year: i64, month: i64) -> i64 {
    let next = if month == 12 { first_of(year + 1, 1) } else { first_of(year, month + 1) };
    next - first_of(year, month)
}

/// A day by year, month and day of the month; `None` where there is none, or beyond the calendar.
pub(super) fn make_date(year: i64, month: i64, day: i64) -> Option<i64> {
    let known = (-262_143..=262_142).contains(&year) && (1..=12).contains(&month);
    let made = (known && (1..=days_of(year, month)).contains(&day)).then(|| first_of(year, month) + day - 1)?;
    Some(made).filter(|day| CALENDAR.contains(day))
}

/// The start of the bin that a point in time lies in; bins are `width` months or nanoseconds wide. `origin` and all between are nanoseconds: `None` where they do
/// not fit, as in DataFusion.
pub(super) fn bin(time: i64, per_second: i64, width: i64, months: bool, origin: i64) -> Option<i64> {
    let scale = 1_000_000_000i64.checked_div(per_second).filter(|scale| *scale > 0)?;
    let nanos = time.checked_mul(scale)?;
    let start =
        if months { month_bin(nanos, width, origin)? } else { origin.checked_add(bin_distance(nanos.checked_sub(origin)?, width)?)? };
    Some(start / scale)
}

/// The greatest multiple of a width that is not greater.
fn bin_distance(distance: i64, width: i64) -> Option<i64> {
    let start = distance.checked_sub(distance.checked_rem(width)?)?;
    if distance < 0 && width > 1 && start != distance { start.checked_sub(width) } else { Some(start) }
}

fn month_bin(time: i64, width: i64, origin: i64) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    let ((day, second, nanos), (first, first_second, first_nanos)) = (split(time, SECOND)?, split(origin, SECOND)?);
    let ((year, month, _), (first_year, first_month, day_of_month)) = (civil(day), civil(first));
    // A day that a month does not have is its last.
    let moved = |months: i64| {
        let months = first_year.checked_mul(12)?.checked_add(first_month - 1)?.checked_add(months)?;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let known = (-262_143..=262_142).contains(&year);
        known.then(|| (first_of(year, month) + day_of_month.min(days_of(year, month)) - 1, first_second, first_nanos))
    };
    let distance = bin_distance((year - first_year) * 12 + month - first_month, width)?;
    let mut start = moved(distance)?;
    if start > (day, second, nanos) {
        start = moved(distance.checked_sub(width)?)?;
    }
    let (day, second, nanos) = start;
    i64::try_from((i128::from(day) * i128::from(DAY) + i128::from(second)) * i128::from(SECOND) + i128::from(nanos)).ok()
}

/// By how much to move a point in time, and whether back.
pub(super) struct Interval {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) nanos: i64,
    pub(super) back: bool,
}

/// A point in time moved by an interval, in UTC.
pub(super) fn add(time: i64, per_second: i64, interval: Interval) -> Option<i64> {
    let Interval { months, days, nanos, back } = interval;
    let delta = IntervalMonthDayNano::new(months, days, nanos);
    if per_second == 0 {
        let day = i32::try_from(time).ok()?;
        let moved = if back { Date32Type::subtract_month_day_nano_opt(day, delta) } else { Date32Type::add_month_day_nano_opt(day, delta) };
        return moved.map(i64::from);
    }
    let utc: Tz = "+00:00".parse().ok()?;
    macro_rules! moved {
        ($ty:ty) => {
            if back { <$ty>::subtract_month_day_nano(time, delta, utc) } else { <$ty>::add_month_day_nano(time, delta, utc) }
        };
    }
    match per_second {
        1 => moved!(TimestampSecondType),
        1_000 => moved!(TimestampMillisecondType),
        1_000_000 => moved!(TimestampMicrosecondType),
        1_000_000_000 => moved!(TimestampNanosecondType),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray,
    };
    use arrow::compute::{DatePart, cast, date_part};
    use arrow::datatypes::{DataType, Int32Type};

    use super::*;

    fn times(per_second: i64) -> Vec<i64> {
        let mut times = vec![0, 1, -1, i64::MIN, i64::MAX, i64::MIN / 3, i64::MAX / 7];
        let unit = if per_second == 0 { 1 } else { DAY * per_second };
        for day in [
            -719_468,
            -141_428,
            -25_567,
            -1,
            59,
            60,
            364,
            365,
            366,
            10_956,
            11_016,
            11_017,
            19_782,
            95_026_236,
            -96_465_292,
            95_026_237,
            -96_465_293,
        ] {
            for offset in [0, 1, -1, unit / 2, unit - 1] {
                times.extend(i64::checked_mul(day, unit).and_then(|time| time.checked_add(offset)));
            }
        }
        for step in 0..3_000i64 {
            times.push(step.wrapping_mul(7_919_777_777_777_777_773).wrapping_shr((step % 40) as u32));
        }
        times
    }

    fn array(per_second: i64, times: &[i64]) -> ArrayRef {
        match per_second {
            0 => Arc::new(Date32Array::from_iter_values(times.iter().map(|time| *time as i32))),
            1 => Arc::new(TimestampSecondArray::from(times.to_vec())),
            1_000 => Arc::new(TimestampMillisecondArray::from(times.to_vec())),
            1_000_000 => Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
            _ => Arc::new(TimestampNanosecondArray::from(times.to_vec())),
        }
    }

    const UNITS: [i64; 5] = [0, 1, 1_000, 1_000_000, 1_000_000_000];

    #[test]
    fn parts_are_those_of_arrow() {
        let parts = [
            (TimePart::Year, DatePart::Year),
            (TimePart::Quarter, DatePart::Quarter),
            (TimePart::Month, DatePart::Month),
            (TimePart::Week, DatePart::Week),
            (TimePart::Day, DatePart::Day),
            (TimePart::DayFromSunday, DatePart::DayOfWeekSunday0),
            (TimePart::IsoDay, DatePart::DayOfWeekMonday1),
            (TimePart::DayOfYear, DatePart::DayOfYear),
            (TimePart::IsoYear, DatePart::YearISO),
            (TimePart::Hour, DatePart::Hour),
            (TimePart::Minute, DatePart::Minute),
            (TimePart::Second, DatePart::Second),
        ];
        for per_second in UNITS {
            let times: Vec<i64> =
                times(per_second).into_iter().map(|time| if per_second == 0 { i64::from(time as i32) } else { time }).collect();
            let array = array(per_second, &times);
            for (ours, arrows) in parts {
                let expected = date_part(&array, arrows).unwrap();
                for (time, expected) in times.iter().zip(expected.as_primitive::<Int32Type>()) {
                    assert_eq!(part(*time, per_second, ours as i64), expected.map(i64::from), "{ours:?} of {time} ({per_second})");
                }
            }
        }
    }

    #[test]
    fn days_are_those_of_arrows_cast() {
        for per_second in &UNITS[1..] {
            let times = times(*per_second);
            for time in times {
                let expected = cast(&array(*per_second, &[time]), &DataType::Date32);
                let expected = expected.ok().filter(|day| day.is_valid(0)).map(|day| day.as_primitive::<Date32Type>().value(0));
                assert_eq!(day(time, *per_second), expected.map(i64::from), "{time} ({per_second})");
            }
        }
    }

    #[test]
    fn dates_are_made() {
        assert_eq!((make_date(2024, 2, 29), make_date(2023, 2, 29), make_date(1970, 1, 1)), (Some(19_782), None, Some(0)));
        assert_eq!(
            (make_date(2024, 0, 1), make_date(2024, 13, 1), make_date(2024, 1, 0), make_date(2024, 4, 31)),
            (None, None, None, None)
        );
        assert_eq!(
            (make_date(262_142, 12, 31), make_date(262_143, 1, 1), make_date(-262_143, 1, 1)),
            (Some(95_026_236), None, Some(-96_465_292))
        );
        assert_eq!(make_date(i64::MAX, i64::MIN, i64::MAX), None);
    }

    #[test]
    fn bins_hold_their_times() {
        let at = |year, month, day: i64| (first_of(year, month) + day - 1) * DAY;
        assert_eq!(bin(at(2024, 5, 17), 1, 15 * 60_000_000_000, false, 0), Some(at(2024, 5, 17)));
        assert_eq!(bin(-1, 1, 60_000_000_000, false, 0), Some(-60));
        assert_eq!(bin(-60, 1, 60_000_000_000, false, 0), Some(-60));
        assert_eq!(bin(100, 1_000, 60_000_000, false, 7_000_000), Some(67));
        assert_eq!(bin(i64::MAX, 1, 1, false, 0), None);
        assert_eq!(bin(i64::MIN, 1_000_000_000, 7, false, i64::MAX), None);
        assert_eq!(bin(5, 1, 0, false, 0), None);
        for (time, width, origin, start) in [
            (at(2024, 5, 17), 1, 0, at(2024, 5, 1)),
            (at(2024, 5, 17), 12, 0, at(2024, 1, 1)),
            (at(1969, 12, 31), 3, 0, at(1969, 10, 1)),
            (at(2024, 5, 17), 1, at(2000, 1, 31), at(2024, 4, 30)),
            (at(2024, 5, 31), 1, at(2000, 1, 31), at(2024, 5, 31)),
            (at(1950, 2, 10), 2, at(2000, 1, 20), at(1950, 1, 20)),
        ] {
            assert_eq!(bin(time, 1, width, true, origin * 1_000_000_000), Some(start), "{time} {width} {origin}");
        }
        assert_eq!(bin(0, 1, i64::MAX, true, 1), None);
    }

    #[test]
    fn units_of_the_calendar_begin_where_they_should() {
        let day = |year, month| first_of(year, month) * DAY;
        let at = day(2024, 5) + 14 * DAY + 3_661;
        for (part, start) in [
            (TimePart::Year, day(2024, 1)),
            (TimePart::Quarter, day(2024, 4)),
            (TimePart::Month, day(2024, 5)),
            (TimePart::Week, day(2024, 5) + 12 * DAY),
        ] {
            assert_eq!(trunc(at, 1, part as i64), Some(start), "{part:?}");
            assert_eq!(trunc(at * 1_000_000 + 5, 1_000_000, part as i64), Some(start * 1_000_000), "{part:?}");
        }
        assert_eq!(trunc(-1, 1, TimePart::Year as i64), Some(day(1969, 1)));
        assert_eq!(trunc(i64::MAX, 1, TimePart::Year as i64), None);
        assert_eq!(trunc(i64::MIN, 1_000_000_000, TimePart::Year as i64), None);
        // Days.
        assert_eq!(trunc(first_of(2024, 5) + 14, 0, TimePart::Month as i64), Some(first_of(2024, 5)));
        assert_eq!(trunc(i64::MAX, 0, TimePart::Month as i64), None);
    }

    #[test]
    fn what_is_no_unit_of_time_has_no_answer() {
        for per_second in [-1, 2, 7, i64::MAX, i64::MIN] {
            assert_eq!(part(5, per_second, TimePart::Day as i64), None);
            assert_eq!(trunc(5, per_second, TimePart::Year as i64), None);
            assert_eq!(day(5, per_second), None);
            assert_eq!(add(5, per_second, Interval { months: 1, days: 1, nanos: 1, back: false }), None);
        }
    }
}
