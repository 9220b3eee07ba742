//! Parts of dates.

use std::rc::Rc;

use stagefuse_ir::{Repr, UnaryOp};

use super::cast::resize;
use crate::error::Error;
use crate::interpreter::vector::{Vector, map};

pub(super) fn part(op: UnaryOp, days: &Rc<Vector>) -> Result<Rc<Vector>, Error> {
    let days = resize(days, Repr::I32)?;
    let result = match op {
        UnaryOp::Year => map::<i32, i32>(&days, |days| civil(days).0),
        UnaryOp::Month => map::<i32, i32>(&days, |days| civil(days).1),
        _ => map::<i32, i32>(&days, |days| civil(days).2),
    };
    result.map(Rc::new)
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar, counted in eras of 400 years that begin in March.
#[inline(always)]
fn civil(days: i32) -> (i32, i32, i32) {
    let days = i64::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as i32, day as i32)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        for (days, date) in
            [(0, (1970, 1, 1)), (-1, (1969, 12, 31)), (11_016, (2000, 2, 29)), (11_017, (2000, 3, 1)), (-719_468, (0, 3, 1))]
        {
            assert_eq!(civil(days), date, "{days}");
        }
    }
}
