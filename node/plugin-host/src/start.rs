use crate::request::words_of;
use mainstem_plugin_abi::{ColumnType, Parameter, plugin_capnp::request};
use std::collections::BTreeMap;

/// What the first call of an instance says: which operator it is, or none, and a value for each parameter of its claim.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    operator: &'a str,
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Start<'a> {
    /// `of` is the operator or the storage scheme. Parameters that are not given have their defaults.
    pub(crate) fn new(
        of: &'a str,
        parameters: &'a [Parameter],
        given: &'a BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let knows = |name: &String| parameters.iter().any(|parameter| parameter.name == *name);
        if let Some(unknown) = given.keys().find(|name| !knows(name)) {
            let names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            let names = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
            return Err(format!("{of} has no parameter {unknown:?}, but {names}"));
        }
        let values =
            parameters.iter().map(|parameter| value(of, parameter, given)).collect::<Result<_, _>>()?;
        Ok(Self { operator: of, values })
    }

    /// The same for a storage, which is no operator.
    pub(crate) fn without_operator(self) -> Self {
        Self { operator: "", ..self }
    }

    pub(crate) fn words(&self) -> usize {
        let words = |(name, value): &(&str, &str)| 6 + words_of(name.len()) + words_of(value.len());
        32 + words_of(self.operator.len()) + self.values.iter().map(words).sum::<usize>()
    }

    pub(crate) fn write(&self, request: request::Builder<'_>) {
        let mut start = request.init_start();
        start.set_operator(self.operator);
        let mut list = start.init_parameters(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        for (index, (name, value)) in (0..).zip(&self.values) {
            let mut to = list.reborrow().get(index);
            to.set_name(*name);
            to.set_value(*value);
        }
    }
}

fn value<'a>(
    of: &str,
    parameter: &'a Parameter,
    given: &'a BTreeMap<String, String>,
) -> Result<(&'a str, &'a str), String> {
    let value = given.get(&parameter.name).map_or(parameter.default.as_str(), String::as_str);
    let of = format!("parameter {} of {of}", parameter.name);
    if value.is_empty() && !given.contains_key(&parameter.name) {
        return Err(format!("{of} has no default: give it a value"));
    }
    let (fits, right) = match parameter.parameter_type {
        ColumnType::Int64 => (value.parse::<i64>().is_ok(), "a whole number of 64 bits"),
        ColumnType::Float64 => (value.parse::<f64>().is_ok(), "a number"),
        ColumnType::Data => {
            let digits = value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (value.len().is_multiple_of(2) && digits, "bytes in lower case hexadecimal digits")
        }
        ColumnType::Text => (true, "text"),
    };
    if fits {
        return Ok((&parameter.name, value));
    }
    let shown: String = value.chars().take(80).collect();
    Err(format!("{of} is {shown:?}, which is not {right}"))
}
