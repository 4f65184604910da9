use crate::Failure;

/// Writes an operator's state: a version byte, then values in little-endian, one behind the other.
#[derive(Clone, Debug)]
pub struct StateWriter(Vec<u8>);

impl StateWriter {
    /// A state in version `version` of its layout.
    pub fn new(version: u8) -> Self {
        Self(vec![version])
    }

    /// Adds a count or another number that is never negative.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds a whole number.
    #[must_use]
    pub fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds a number, bit for bit.
    #[must_use]
    pub fn f64(mut self, value: f64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// What [`crate::Operator::snapshot`] gives.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`StateWriter`] wrote, in the same order. What does not fit is `invalid`.
#[derive(Clone, Debug)]
pub struct StateReader<'a>(&'a [u8]);

impl<'a> StateReader<'a> {
    /// Reads a state of this version.
    ///
    /// # Errors
    /// The bytes are of another version, or none.
    pub fn new(version: u8, state: &'a [u8]) -> Result<Self, Failure> {
        match state {
            [found, rest @ ..] if *found == version => Ok(Self(rest)),
            [found, ..] => Err(Failure::invalid(format!(
                "the state is of version {found}, and this operator reads {version}; \
                 restore it with the version of the plugin that gave it"
            ))),
            [] => Err(Failure::invalid("the state is empty; give back what `snapshot` gave")),
        }
    }

    /// The next number that is never negative.
    ///
    /// # Errors
    /// The state ends before.
    pub fn u64(&mut self) -> Result<u64, Failure> {
        self.take().map(u64::from_le_bytes)
    }

    /// The next whole number.
    ///
    /// # Errors
    /// The state ends before.
    pub fn i64(&mut self) -> Result<i64, Failure> {
        self.take().map(i64::from_le_bytes)
    }

    /// The next number.
    ///
    /// # Errors
    /// The state ends before.
    pub fn f64(&mut self) -> Result<f64, Failure> {
        self.take().map(f64::from_le_bytes)
    }

    /// Sees that all was read.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(self) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "the state has {} bytes too many; give back what `snapshot` gave",
            self.0.len()
        )))
    }

    fn take(&mut self) -> Result<[u8; 8], Failure> {
        let (value, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Failure::invalid("the state ends too early; give back what `snapshot` gave"))?;
        self.0 = rest;
        Ok(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_nothing_else_is() {
        let state = StateWriter::new(3).u64(u64::MAX).i64(-1).f64(-0.5).finish();
        let read = |state: &[u8]| {
            let mut reader = StateReader::new(3, state)?;
            let values = (reader.u64()?, reader.i64()?, reader.f64()?);
            reader.end().map(|()| values)
        };
        assert_eq!(read(&state), Ok((u64::MAX, -1, -0.5)));
        for len in 0..state.len() {
            assert!(read(&state[..len]).is_err(), "{len}");
        }
        assert!(read(&[&state[..], &[0]].concat()).is_err());
        assert!(StateReader::new(4, &state).is_err());
    }
}
