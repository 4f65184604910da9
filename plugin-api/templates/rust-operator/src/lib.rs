//! An operator: what begins here passes on the rows whose value is above a threshold, and counts them.

use mainstem_plugin_sdk::{
    Batch, Failure, Host, Operator, Parameters, RowValues, Rows, StateReader, StateWriter,
};

/// Of the layout of the state; another one when the layout changes.
const STATE_VERSION: u8 = 1;

/// The operator and its state.
pub struct Above {
    above: f64,
    passed: u64,
}

impl Operator for Above {
    const NAME: &'static str = "{{name}}";

    fn start(parameters: &Parameters<'_>) -> Result<Self, Failure> {
        Ok(Self { above: parameters.float64("above")?, passed: 0 })
    }

    fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
        let rows = batch.timestamps().into_iter().zip(batch.float64(0)?);
        let (timestamps, values): (Vec<_>, Vec<_>) = rows.filter(|(_, value)| *value > self.above).unzip();
        self.passed += values.len() as u64;
        Ok(Rows::columns(0, timestamps, vec![RowValues::Float64(values)]).if_any())
    }

    /// Everything that what comes later depends on.
    fn snapshot(&self) -> Vec<u8> {
        StateWriter::new(STATE_VERSION).u64(self.passed).finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        let mut state = StateReader::new(STATE_VERSION, state)?;
        let passed = state.u64()?;
        state.end()?;
        self.passed = passed;
        Ok(())
    }
}

mainstem_plugin_sdk::operators!(Above);

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_plugin_sdk::harness::Harness;

    fn rows(timestamps: &[i64], values: &[f64]) -> Rows {
        Rows::columns(0, timestamps.to_vec(), vec![RowValues::Float64(values.to_vec())])
    }

    #[test]
    fn rows_above_the_threshold_pass_and_a_restored_operator_goes_on() -> Result<(), Failure> {
        let mut before = Harness::<Plugin>::default();
        before.start("{{name}}", &[("above", "1.5")])?;
        assert_eq!(before.on_batch(&rows(&[1, 2], &[1.0, 2.0]))?, [rows(&[2], &[2.0])]);

        let mut after = Harness::<Plugin>::default();
        after.start("{{name}}", &[("above", "1.5")])?;
        after.restore(&before.snapshot()?)?;
        let more = rows(&[3], &[3.0]);
        assert_eq!(before.on_batch(&more)?, after.on_batch(&more)?);
        assert_eq!(before.snapshot()?, after.snapshot()?);
        Ok(())
    }
}
