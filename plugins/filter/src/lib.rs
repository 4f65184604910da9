//! An operator: rows whose value is above a threshold.

use mainstem_plugin_sdk::{Batch, Failure, Host, Operator, Parameters, RowValues, Rows};

/// Passes rows on whose value is greater than `above`. It has no state.
#[derive(Debug)]
pub struct Filter {
    above: f64,
}

impl Operator for Filter {
    const NAME: &'static str = "filter";

    fn start(parameters: &Parameters<'_>) -> Result<Self, Failure> {
        Ok(Self { above: parameters.float64("above")? })
    }

    fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
        let rows = batch.timestamps().into_iter().zip(batch.float64(0)?);
        // A NaN is not above anything.
        let (timestamps, values) = rows.filter(|(_, value)| *value > self.above).unzip();
        Ok(Rows::columns(0, timestamps, vec![RowValues::Float64(values)]).if_any())
    }
}

mainstem_plugin_sdk::operators!(Filter);
