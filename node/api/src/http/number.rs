//! Whole numbers as JSON Schema and query strings know them: `22.0` is one, and 64 bits are signed.

use serde::{Deserialize, Deserializer, de};
use std::{fmt, marker::PhantomData};

/// A whole number that fits `T`.
#[derive(Clone, Copy, Debug)]
struct Whole<T>(T);

struct WholeVisitor<T>(PhantomData<T>);

impl<T: TryFrom<i64>> de::Visitor<'_> for WholeVisitor<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number in range")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Whole<T>, E> {
        let wrong = E::invalid_value(de::Unexpected::Signed(value), &self);
        T::try_from(value).map(Whole).map_err(|_| wrong)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Whole<T>, E> {
        let wrong = E::invalid_value(de::Unexpected::Unsigned(value), &self);
        i64::try_from(value).ok().and_then(|value| T::try_from(value).ok()).map(Whole).ok_or(wrong)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Whole<T>, E> {
        // All whole numbers up to 2^53 are exact; none that is taken here lies beyond.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= EXACT {
            self.visit_i64(value as i64)
        } else {
            Err(E::invalid_value(de::Unexpected::Float(value), &self))
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Whole<T>, E> {
        match value.parse() {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
        }
    }
}

impl<'de, T: TryFrom<i64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor(PhantomData))
    }
}

/// For `deserialize_with`: a whole number.
pub(super) fn whole<'de, T: TryFrom<i64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Whole::deserialize(deserializer).map(|Whole(number)| number)
}

/// For `deserialize_with`: a whole number or nothing.
pub(super) fn maybe_whole<'de, T: TryFrom<i64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::<Whole<T>>::deserialize(deserializer).map(|number| number.map(|Whole(number)| number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_in_range_are_read_however_they_are_written() {
        let check = |json: &str, expected: Option<u16>| {
            let read = serde_json::from_str::<Whole<u16>>(json).ok().map(|Whole(number)| number);
            assert_eq!(read, expected, "{json}");
        };
        check("0", Some(0));
        check("22.0", Some(22));
        check("65535", Some(65535));
        for json in ["65536", "-1", "0.5", "1e300", "null", "true", "18446744073709551615", "[]"] {
            check(json, None);
        }
    }
}
