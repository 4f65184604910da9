use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, time::SystemTime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type},
};

/// A moment in JSON or a query: milliseconds since 1970-01-01 UTC, or ISO 8601 with a zone. Years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) unix_ms: i64,
}

/// First and last millisecond that have an ISO 8601 form of four year digits.
const UNIX_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

impl Time {
    /// The clock of this machine.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) }
    }

    /// Whole Unix seconds, as the chain counts; 0 before 1970.
    pub(super) fn unix_s(self) -> u64 {
        u64::try_from(self.unix_ms.div_euclid(1000)).unwrap_or(0)
    }

    fn of_number(unix_ms: i64) -> Option<Self> {
        UNIX_MS.contains(&unix_ms).then_some(Self { unix_ms })
    }

    fn of_text(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Self::of_number(number);
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Self::of_number(i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?)
    }
}

/// ISO 8601 in UTC with milliseconds; the bare number for a moment outside of the years 0 to 9999.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = UNIX_MS
            .contains(&self.unix_ms)
            .then(|| OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.unix_ms) * 1_000_000).ok())
            .flatten();
        let Some(moment) = moment else { return write!(f, "{}", self.unix_ms) };
        let (date, time) = (moment.date(), moment.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        )
    }
}

struct TimeVisitor;

impl de::Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("milliseconds since 1970 or ISO 8601 such as 2026-01-31T12:00:00.000Z, years 0 to 9999")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Time, E> {
        Time::of_number(value).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Time, E> {
        let number = i64::try_from(value).ok().and_then(Time::of_number);
        number.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Time, E> {
        // JSON Schema calls 22.0 an integer; all of the range is exact.
        let whole = (value.fract() == 0.0).then_some(value as i64).and_then(Time::of_number);
        whole.ok_or_else(|| E::invalid_value(de::Unexpected::Float(value), &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Time, E> {
        Time::of_text(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(*UNIX_MS.start()))
            .maximum(Some(*UNIX_MS.end()))
            .description(Some("Milliseconds since 1970-01-01 UTC."));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("ISO 8601 with a zone."));
        OneOfBuilder::new().item(number).item(text).into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_in_utc_with_milliseconds() {
        assert_eq!(Time { unix_ms: 1_700_000_000_001 }.to_string(), "2023-11-14T22:13:20.001Z");
        assert_eq!(Time { unix_ms: -1 }.to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Time { unix_ms: *UNIX_MS.start() }.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Time { unix_ms: i64::MAX }.to_string(), i64::MAX.to_string());
    }

    #[test]
    fn numbers_and_iso_8601_are_read_and_the_rest_is_refused() {
        let check = |json: &str, expected: Option<i64>| {
            assert_eq!(serde_json::from_str::<Time>(json).ok().map(|time| time.unix_ms), expected, "{json}");
        };
        check("0", Some(0));
        check("-1", Some(-1));
        check("22.0", Some(22));
        check("1e300", None);
        check(r#""1700000000000""#, Some(1_700_000_000_000));
        check(r#""2023-11-14T22:13:20Z""#, Some(1_700_000_000_000));
        check(r#""2023-11-14T23:13:20.0019+01:00""#, Some(1_700_000_000_001));
        check("253402300799999", Some(253_402_300_799_999));
        check("253402300800000", None);
        check("-62167219200001", None);
        for json in
            [r#""""#, r#""now""#, r#""2023-11-14""#, r#""2023-02-30T00:00:00Z""#, "1.5", "null", "true"]
        {
            check(json, None);
        }
    }
}
