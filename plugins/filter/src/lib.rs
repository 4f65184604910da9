//! Operators that pass some rows on: those whose value is above a threshold, and whole events of one content type.

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

/// Passes whole events on whose content type is `content_type`. It has no state.
#[derive(Debug)]
pub struct OfType {
    content_type: u16,
}

impl Operator for OfType {
    const NAME: &'static str = "of-type";

    fn start(parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let given = parameters.int64("content_type")?;
        let content_type = u16::try_from(given).map_err(|_| {
            Failure::invalid(format!(
                "the parameter content_type is {given}; it must be 0 to 65535, such as 2"
            ))
        })?;
        Ok(Self { content_type })
    }

    fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
        let types = (0..).zip(batch.content_types()?);
        let rows = types.filter(|(_, of)| *of == self.content_type).map(|(row, _)| row).collect();
        Ok(Rows::passed(0, batch, rows).if_any())
    }
}

mainstem_plugin_sdk::operators!(Filter, OfType);
