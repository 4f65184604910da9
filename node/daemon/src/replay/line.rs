//! Lines of a recorded feed.

use crate::cli::time;
use bytes::Bytes;
use mainstem_model::{PartitionKey, limits::CONTENT_BYTES_MAX};
use serde_json::Value;
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Bytes of a line; the rest of a longer one is passed over.
const LINE_BYTES_MAX: usize = CONTENT_BYTES_MAX + 4096;

/// An event as it was recorded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// When, milliseconds since 1970.
    pub(crate) time_ms: i64,
    /// What chooses the partition, if something was asked to.
    pub(crate) key: Option<PartitionKey>,
    /// The JSON text, as it was written.
    pub(crate) content: Bytes,
}

/// Which fields of a line mean something.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) time: String,
    pub(crate) partition_key: Option<String>,
}

impl Fields {
    /// Reads a line as an event. The error is the rest of a sentence about the line.
    pub(crate) fn read(&self, line: &[u8]) -> Result<Recorded, String> {
        let line = line.trim_ascii();
        if line.len() > CONTENT_BYTES_MAX {
            return Err(format!("it has more than {CONTENT_BYTES_MAX} bytes"));
        }
        let value: Value =
            serde_json::from_slice(line).map_err(|error| format!("it is not JSON: {error}"))?;
        let field = |name: &str| value.get(name).ok_or_else(|| format!("it has no field {name:?}"));
        let time_ms = read_time(field(&self.time)?).ok_or_else(|| {
            format!("its field {:?} is neither milliseconds since 1970 nor ISO 8601 with a zone", self.time)
        })?;
        let key = match &self.partition_key {
            Some(name) => Some(
                read_key(field(name)?)
                    .ok_or_else(|| format!("its field {name:?} is neither a text nor a whole number"))?,
            ),
            None => None,
        };
        Ok(Recorded { time_ms, key, content: Bytes::copy_from_slice(line) })
    }
}

fn read_time(value: &Value) -> Option<i64> {
    match value {
        // A fraction of a millisecond paces nothing.
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().filter(|ms| ms.abs() < 1e15).map(|ms| ms as i64))
        }
        Value::String(text) => time::parse_ms(text).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_key(value: &Value) -> Option<PartitionKey> {
    match value {
        Value::String(text) => Some(PartitionKey::Text(text.clone())),
        Value::Number(number) => number.as_i64().map(PartitionKey::Number),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Puts the next line into `line`, with its end; gives the bytes taken from the input, 0 at its end. A line beyond the bound is
/// kept a byte longer than it, so that it is refused, and the rest of it is passed over.
pub(crate) async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<u64> {
    read_bounded(input, line, LINE_BYTES_MAX).await
}

async fn read_bounded(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<u64> {
    line.clear();
    let mut taken = (&mut *input).take(max as u64 + 1).read_until(b'\n', line).await? as u64;
    if taken <= max as u64 || line.last() == Some(&b'\n') {
        return Ok(taken);
    }
    loop {
        let rest = input.fill_buf().await?;
        let (count, is_over) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (rest.len(), rest.is_empty()),
        };
        input.consume(count);
        taken += count as u64;
        if is_over {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Recorded, String> {
        Fields { time: "time".to_owned(), partition_key: None }.read(line.as_bytes())
    }

    fn key_of(line: &str) -> Result<Option<PartitionKey>, String> {
        let fields = Fields { time: "t".to_owned(), partition_key: Some("k".to_owned()) };
        fields.read(line.as_bytes()).map(|recorded| recorded.key)
    }

    #[test]
    fn times_are_read_as_milliseconds_or_iso_8601() {
        for (time, ms) in [
            ("1517363399650", 1_517_363_399_650),
            ("-1", -1),
            ("1.5e3", 1500),
            ("\"1517363399650\"", 1_517_363_399_650),
            ("\"2013-01-01T10:17:00Z\"", 1_357_035_420_000),
            ("\"2013-01-01T05:17:00.25-05:00\"", 1_357_035_420_250),
        ] {
            assert_eq!(read(&format!("{{\"time\":{time}}}")).unwrap().time_ms, ms, "{time}");
        }
    }

    #[test]
    fn the_content_is_what_was_written() {
        let line = r#"{"time": 1,  "n": 123456789012345678901234567890}"#;
        assert_eq!(read(&format!(" {line}\r\n")).unwrap().content, line.as_bytes());
    }

    #[test]
    fn a_bad_line_is_told_what_is_wrong_with_it() {
        for (line, why) in [
            ("{", "it is not JSON"),
            ("[1]", "it has no field \"time\""),
            ("{}", "it has no field \"time\""),
            ("{\"time\":null}", "neither milliseconds"),
            ("{\"time\":1e300}", "neither milliseconds"),
            ("{\"time\":\"yesterday\"}", "neither milliseconds"),
            ("{\"time\":\"2013-01-01T10:17:00\"}", "with a zone"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(why), "{line}: {told}");
        }
        assert!(read(&"x".repeat(CONTENT_BYTES_MAX + 1)).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_key_is_a_text_or_a_whole_number() {
        assert_eq!(key_of(r#"{"t":1,"k":"JFK"}"#), Ok(Some(PartitionKey::Text("JFK".to_owned()))));
        assert_eq!(key_of(r#"{"t":1,"k":-7}"#), Ok(Some(PartitionKey::Number(-7))));
        for line in [r#"{"t":1}"#, r#"{"t":1,"k":1.5}"#, r#"{"t":1,"k":null}"#] {
            assert!(key_of(line).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn a_line_too_long_is_refused_and_the_next_one_is_whole() {
        // A buffer smaller than the lines, as at the edges of a large one.
        let mut input = tokio::io::BufReader::with_capacity(3, b"abcd\n123456789\n\n12345\nend" as &[u8]);
        let (mut lines, mut line, mut total) = (Vec::new(), Vec::new(), 0);
        loop {
            let taken = read_bounded(&mut input, &mut line, 5).await.unwrap();
            if taken == 0 {
                break;
            }
            total += taken;
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["abcd\n", "123456", "\n", "12345\n", "end"]);
        assert_eq!(total, 25, "every byte is counted");
    }
}
