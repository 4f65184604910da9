use super::failure::Failure;
use std::time::{SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a moment: ISO 8601 with a zone, or milliseconds since 1970.
pub(crate) fn parse_ms(text: &str) -> Result<i64, Failure> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Failure::usage(format!(
            "{text:?} is not a time; use ISO 8601 with a zone, 2026-01-31T12:00:00Z, or milliseconds since 1970"
        ))
    })?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000))
        .map_err(|_| Failure::usage(format!("{text:?} is too far away")))
}

/// ISO 8601 of Unix seconds.
pub(crate) fn iso_of_seconds(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_as_people_and_programs_write_them() {
        for (text, ms) in [
            ("0", 0),
            ("-5", -5),
            ("1700000000000", 1_700_000_000_000),
            ("1970-01-01T00:00:01.5Z", 1500),
            ("1970-01-01T01:00:00+01:00", 0),
        ] {
            assert_eq!(parse_ms(text).unwrap(), ms, "{text}");
        }
        assert!(parse_ms("yesterday").is_err());
        assert!(parse_ms("2026-01-31T12:00:00").is_err());
        assert_eq!(iso_of_seconds(0), "1970-01-01T00:00:00Z");
    }
}
