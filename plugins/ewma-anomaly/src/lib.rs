//! An operator: rows that lie far from the exponentially weighted mean of those before.

mod ewma;

pub use ewma::Ewma;

use mainstem_plugin_sdk::{
    Batch, Failure, Host, Operator, Parameters, RowValues, Rows, StateReader, StateWriter,
};

/// Of the layout of the state.
const STATE_VERSION: u8 = 1;

/// Passes rows on that are more than `threshold` standard deviations from the mean of the rows before, each with that mean and
/// how many deviations it is away.
#[derive(Debug)]
pub struct EwmaAnomaly {
    threshold: f64,
    /// Rows that are learned from before the first one is judged.
    warm_up: u64,
    ewma: Ewma,
}

impl Operator for EwmaAnomaly {
    const NAME: &'static str = "ewma-anomaly";

    fn start(parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let alpha = parameters.float64("alpha")?;
        if !(alpha > 0.0 && alpha <= 1.0) {
            return Err(refused("alpha", alpha, "more than 0 and at most 1"));
        }
        let threshold = parameters.float64("threshold")?;
        if threshold <= 0.0 {
            return Err(refused("threshold", threshold, "more than 0"));
        }
        let warm_up = parameters.int64("warm_up")?;
        let warm_up = u64::try_from(warm_up).map_err(|_| refused("warm_up", warm_up, "0 or more"))?;
        Ok(Self { threshold, warm_up, ewma: Ewma::new(alpha) })
    }

    /// Rows count in the order in which they come. A value that is not finite is left out.
    fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
        let rows = batch.timestamps().into_iter().zip(batch.float64(0)?);
        let (mut timestamps, mut values, mut means, mut scores) = (vec![], vec![], vec![], vec![]);
        for (time, value) in rows.filter(|(_, value)| value.is_finite()) {
            let (judged, mean, score) =
                (self.ewma.count >= self.warm_up, self.ewma.mean, self.ewma.score(value));
            self.ewma.add(value);
            if judged && score.abs() > self.threshold {
                timestamps.push(time);
                values.push(value);
                means.push(mean);
                scores.push(score);
            }
        }
        let columns = [values, means, scores].map(RowValues::Float64).to_vec();
        Ok(Rows::columns(0, timestamps, columns).if_any())
    }

    fn snapshot(&self) -> Vec<u8> {
        let Ewma { count, mean, variance, .. } = self.ewma;
        StateWriter::new(STATE_VERSION).u64(count).f64(mean).f64(variance).finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        let mut state = StateReader::new(STATE_VERSION, state)?;
        let (count, mean, variance) = (state.u64()?, state.f64()?, state.f64()?);
        state.end()?;
        if !(mean.is_finite() && variance.is_finite() && variance >= 0.0) {
            return Err(Failure::invalid(format!(
                "the state has mean {mean} and variance {variance}; both must be finite, and no variance is negative"
            )));
        }
        self.ewma = Ewma { count, mean, variance, ..self.ewma };
        Ok(())
    }
}

fn refused(name: &str, value: impl std::fmt::Display, right: &str) -> Failure {
    Failure::invalid(format!("the parameter {name} is {value}; it must be {right}"))
}

mainstem_plugin_sdk::operators!(EwmaAnomaly);
