//! The dates of the query language.

use ident::Timestamp;

/// `2018-06-18`, `2018-06-18T22:28:28`, with `Z` or `+00:00` behind; all in UTC
/// unless another offset is given.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4, 1970..=9999)?;
    let month = number(parts.next()?, 2, 1..=12)?;
    let day = number(parts.next()?, 2, 1..=days_of(year, month))?;
    if parts.next().is_some() {
        return None;
    }
    let mut seconds = days_before(year, month, day) * 86_400;
    if let Some(time) = time {
        let (clock, offset) = split_offset(time)?;
        let mut parts = clock.split(':');
        let hour = number(parts.next()?, 2, 0..=23)?;
        let minute = number(parts.next()?, 2, 0..=59)?;
        let second = number(parts.next()?, 2, 0..=59)?;
        if parts.next().is_some() {
            return None;
        }
        seconds += hour * 3600 + minute * 60 + second - offset;
    }
    Some(Timestamp(seconds * 1000))
}

/// The time of day and its distance from UTC in seconds.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (clock, offset) = time.split_at_checked(at)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let hours = number(hours, 2, 0..=18)?;
    let minutes = number(minutes, 2, 0..=59)?;
    Some((clock, sign * (hours * 3600 + minutes * 60)))
}

fn number(text: &str, digits: usize, range: core::ops::RangeInclusive<i64>) -> Option<i64> {
    let sound = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| sound && range.contains(number))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days between 1970-01-01 and this one.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
    let months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    years + months + day - 1
}
