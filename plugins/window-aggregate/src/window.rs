use mainstem_plugin_sdk::{Failure, StateReader, StateWriter};

/// What is known of the rows of a window; there is at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// How many rows there are.
    pub count: u64,
    /// Their sum, added in the order in which they came.
    pub sum: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Default for Window {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Window {
    /// Takes a value that is not NaN.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        // By comparison: which of 0 and -0 `f64::min` gives is left open, and must be the same on every machine.
        if value < self.min {
            self.min = value;
        }
        if value > self.max {
            self.max = value;
        }
    }

    /// The sum through the count.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    pub(crate) fn write(&self, to: StateWriter) -> StateWriter {
        to.u64(self.count).f64(self.sum).f64(self.min).f64(self.max)
    }

    pub(crate) fn read(from: &mut StateReader<'_>) -> Result<Self, Failure> {
        Ok(Self { count: from.u64()?, sum: from.f64()?, min: from.f64()?, max: from.f64()? })
    }
}
