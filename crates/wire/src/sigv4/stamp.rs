//! Moments as signatures have them.

use ident::Timestamp;
use time::{Date, Month, PrimitiveDateTime, Time};

/// `20150830T123600Z`.
pub(super) fn write(at: Timestamp) -> String {
    let Some(moment) = crate::Timestamp(at.0).moment() else { return String::new() };
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads what [`write`](self::write) writes, and nothing else.
pub(super) fn read(stamp: &str) -> Option<Timestamp> {
    if stamp.len() != 16 || stamp.get(8..9)? != "T" || stamp.get(15..)? != "Z" {
        return None;
    }
    let month = Month::try_from(small(stamp, 4, 6)?).ok()?;
    moment(digits(stamp, 0, 4)?, month, small(stamp, 6, 8)?, &[9, 11, 13], stamp)
}

/// Reads the `Date` of HTTP: `Sun, 30 Aug 2015 12:36:00 GMT`, or as mail has it and
/// botocore sends it, with `-0000` in place of `GMT`.
///
/// The day of the week is not held against anybody.
pub(super) fn read_http(date: &str) -> Option<Timestamp> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let signs = [(3, ", "), (7, " "), (11, " "), (16, " "), (19, ":"), (22, ":")];
    let sound = |&(at, sign): &(usize, &str)| date.get(at..at + sign.len()) == Some(sign);
    let universal = matches!(date.get(25..), Some(" GMT" | " +0000" | " -0000"));
    if !universal || !signs.iter().all(sound) {
        return None;
    }
    let place = MONTHS.find(date.get(8..11)?).filter(|place| place % 3 == 0)?;
    let month = Month::try_from(u8::try_from(place / 3 + 1).ok()?).ok()?;
    moment(digits(date, 12, 16)?, month, small(date, 5, 7)?, &[17, 20, 23], date)
}

/// A day, with the time whose parts begin at these places in `text`.
fn moment(
    year: u16,
    month: Month,
    day: u8,
    [hour, minute, second]: &[usize; 3],
    text: &str,
) -> Option<Timestamp> {
    let two = |at: &usize| small(text, *at, at + 2);
    let date = Date::from_calendar_date(year.into(), month, day).ok()?;
    let time = Time::from_hms(two(hour)?, two(minute)?, two(second)?).ok()?;
    let moment = PrimitiveDateTime::new(date, time).assume_utc();
    Some(Timestamp(moment.unix_timestamp().checked_mul(1000)?))
}

fn digits(text: &str, from: usize, to: usize) -> Option<u16> {
    let text = text.get(from..to)?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn small(text: &str, from: usize, to: usize) -> Option<u8> {
    u8::try_from(digits(text, from, to)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_to_put_it() {
        let then = Timestamp(1_440_938_160_000);
        assert_eq!(write(then), "20150830T123600Z");
        assert_eq!(read("20150830T123600Z"), Some(then));
        for zone in ["GMT", "+0000", "-0000"] {
            assert_eq!(read_http(&format!("Sun, 30 Aug 2015 12:36:00 {zone}")), Some(then));
        }
        for neither in [
            "",
            "20150830",
            "20150830T123600",
            "20150830T1236 0Z",
            "2015-08-30T12:36:00Z",
            "20150830T126000Z",
            "20150230T123600Z",
            "Sun, 30 Aug 2015 12:36:00 UTC",
            "Sun, 30 Aug 2015 14:36:00 +0200",
            "Sun, 30 ugS 2015 12:36:00 GMT",
            "Sun, 32 Aug 2015 12:36:00 GMT",
            "Sun, 30 Aug 2015 24:36:00 GMT",
            "Sunday, 30-Aug-15 12:36:00 GMT",
            "Sun Aug 30 12:36:00 2015 xxxx",
            "Sün, 30 Aug 2015 12:36:0 GMT",
        ] {
            assert_eq!(read(neither), None, "{neither}");
            assert_eq!(read_http(neither), None, "{neither}");
        }
    }
}
