use crate::Failure;
use mainstem_plugin_abi::plugin_capnp::value;
use std::{fmt::Display, str::FromStr};

/// The values with which an operator or a storage starts: each that the manifest names, once.
#[derive(Clone, Debug, Default)]
pub struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    /// These values.
    pub fn new(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(values.into_iter().collect())
    }

    pub(crate) fn read(from: capnp::struct_list::Reader<'a, value::Owned>) -> Result<Self, Failure> {
        let text = |text: capnp::text::Reader<'a>| {
            text.to_str().map_err(|_| Failure::malformed("a parameter is not UTF-8"))
        };
        let value = |value: value::Reader<'a>| Ok((text(value.get_name()?)?, text(value.get_value()?)?));
        from.iter().map(value).collect::<Result<_, Failure>>().map(Self)
    }

    /// A parameter as it was written.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn text(&self, name: &str) -> Result<&'a str, Failure> {
        let found = self.0.iter().find(|(given, _)| *given == name);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| Failure::invalid(format!("the parameter {name} is missing; give it a value")))
    }

    /// A parameter that is a whole number.
    ///
    /// # Errors
    /// There is none of this name, or it is none.
    pub fn int64(&self, name: &str) -> Result<i64, Failure> {
        self.parse(name, "a whole number, such as 60000")
    }

    /// A parameter that is a finite number.
    ///
    /// # Errors
    /// There is none of this name, or it is none.
    pub fn float64(&self, name: &str) -> Result<f64, Failure> {
        let remedy = "a number, such as 0.5";
        let value: f64 = self.parse(name, remedy)?;
        if value.is_finite() { Ok(value) } else { Err(refused(name, self.text(name)?, remedy)) }
    }

    /// A parameter that is bytes in lower case hexadecimal digits.
    ///
    /// # Errors
    /// There is none of this name, or it is none.
    pub fn data(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let text = self.text(name)?;
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let bytes = bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty());
        bytes.ok_or_else(|| refused(name, text, "pairs of lower case hexadecimal digits, such as 00ff"))
    }

    fn parse<T: FromStr>(&self, name: &str, remedy: impl Display) -> Result<T, Failure> {
        let text = self.text(name)?;
        text.parse().map_err(|_| refused(name, text, remedy))
    }
}

fn refused(name: &str, text: &str, remedy: impl Display) -> Failure {
    let shown: String = text.chars().take(64).collect();
    Failure::invalid(format!("the parameter {name} is {shown:?}; it must be {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureCode;

    #[test]
    fn a_parameter_is_read_by_its_type_or_told_by_its_name() {
        let given =
            Parameters::new([("n", "-7"), ("x", "0.25"), ("nan", "NaN"), ("hex", "00ff"), ("odd", "0")]);
        assert_eq!(given.int64("n"), Ok(-7));
        assert_eq!(given.float64("x"), Ok(0.25));
        assert_eq!(given.data("hex"), Ok(vec![0, 255]));
        for fault in [given.int64("x").err(), given.float64("nan").err(), given.data("odd").err()] {
            assert_eq!(fault.map(|fault| fault.code), Some(FailureCode::Invalid));
        }
        assert_eq!(given.text("y").unwrap_err().message, "the parameter y is missing; give it a value");
        assert_eq!(
            given.int64("x").unwrap_err().message,
            "the parameter x is \"0.25\"; it must be a whole number, such as 60000"
        );
    }
}
