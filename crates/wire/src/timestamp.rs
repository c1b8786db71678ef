//! Moments on the wire.
//!
//! AWS writes a moment as a number of seconds with a fraction in JSON, and as
//! ISO 8601 in XML. It means milliseconds in both, so that is what we keep, and
//! a floating-point number exists only while JSON is read or written.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// `2026-11-22T07:00:00.000Z`, or nothing for years that have no such form.
    pub fn iso8601(self) -> Option<String> {
        let moment = self.moment()?;
        let (date, millis) = (moment.date(), self.0.rem_euclid(1000));
        let (hour, minute, second) = moment.to_hms();
        Some(format!(
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
        ))
    }

    /// Reads ISO 8601 with any offset and precision; what is finer than a
    /// millisecond is dropped.
    pub fn from_iso8601(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Self)
    }

    /// The calendar's view of it.
    pub(crate) fn moment(self) -> Option<OffsetDateTime> {
        let moment = OffsetDateTime::from_unix_timestamp(self.seconds()).ok()?;
        (0..=9999).contains(&moment.year()).then_some(moment)
    }

    /// Seconds with a fraction. Exact to the millisecond for 285 000 years.
    #[allow(clippy::cast_precision_loss)] // 2⁵³ ms are the 285 000 years.
    pub(crate) fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The nearest millisecond.
    #[allow(clippy::cast_possible_truncation)] // Checked: 10¹⁵ fits an i64.
    pub(crate) fn from_seconds(seconds: f64) -> Option<Self> {
        let millis = (seconds * 1000.0).round();
        (millis.abs() < 1e15).then_some(Self(millis as i64))
    }
}

/// Our own moments are the same milliseconds, without the formats.
impl From<ident::Timestamp> for Timestamp {
    fn from(ours: ident::Timestamp) -> Self {
        Self(ours.0)
    }
}

impl From<Timestamp> for ident::Timestamp {
    fn from(theirs: Timestamp) -> Self {
        Self(theirs.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_seconds())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Self::from_seconds(seconds).ok_or_else(|| de::Error::custom("no such moment"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        for (millis, json, iso) in [
            (0, "0.0", "1970-01-01T00:00:00.000Z"),
            (1_795_330_800_000, "1795330800.0", "2026-11-22T07:00:00.000Z"),
            (1_795_330_800_123, "1795330800.123", "2026-11-22T07:00:00.123Z"),
            (-1, "-0.001", "1969-12-31T23:59:59.999Z"),
        ] {
            let moment = Timestamp(millis);
            assert_eq!(serde_json::to_string(&moment).expect("json"), json);
            assert_eq!(serde_json::from_str::<Timestamp>(json).expect("json"), moment);
            assert_eq!(moment.iso8601().expect("iso"), iso);
            assert_eq!(Timestamp::from_iso8601(iso), Some(moment));
        }
    }

    #[test]
    fn what_others_write() {
        let seven = Some(Timestamp(1_795_330_800_000));
        assert_eq!(Timestamp::from_iso8601("2026-11-22T07:00:00Z"), seven);
        assert_eq!(Timestamp::from_iso8601("2026-11-22T08:00:00.0000009+01:00"), seven);
        assert_eq!(serde_json::from_str::<Timestamp>("1795330800").ok(), seven);
        assert_eq!(Timestamp::from_iso8601("yesterday"), None);
        assert_eq!(Timestamp(i64::MAX).iso8601(), None);
        assert_eq!(Timestamp::from_seconds(f64::NAN), None);
    }
}
