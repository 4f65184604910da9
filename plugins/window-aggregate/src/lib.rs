//! An operator: count, sum, least, greatest and mean of each tumbling window, as the watermark passes its end.

mod window;

pub use window::Window;

use mainstem_plugin_sdk::{
    Batch, Failure, Host, Operator, Parameters, RowValues, Rows, StateReader, StateWriter,
};
use std::collections::{BTreeMap, BTreeSet};

/// Windows that are open at once; a batch that would open more is refused as a whole. At 48 bytes each they fit the least memory.
const WINDOWS_MAX: usize = 16_384;
/// Of the layout of the state.
const STATE_VERSION: u8 = 1;

/// Aggregates rows by windows that stand side by side, each `window_ms` long, the first of them at 1970.
#[derive(Debug)]
pub struct WindowAggregate {
    window_ms: i64,
    /// No row before this comes any more.
    watermark: i64,
    /// Windows that have rows, by their number.
    open: BTreeMap<i64, Window>,
}

impl Operator for WindowAggregate {
    const NAME: &'static str = "window-aggregate";

    fn start(parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let window_ms = parameters.int64("window_ms")?;
        if window_ms < 1 {
            return Err(Failure::invalid(format!(
                "the parameter window_ms is {window_ms}; it must be 1 or more, such as 60000 for a minute"
            )));
        }
        Ok(Self { window_ms, watermark: i64::MIN, open: BTreeMap::new() })
    }

    /// A row of a window that is closed comes too late and is left out, as is a value that is NaN.
    fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
        let (timestamps, values) = (batch.timestamps(), batch.float64(0)?);
        let rows = timestamps.into_iter().zip(values).filter(|(_, value)| !value.is_nan());
        let rows = rows.map(|(time, value)| (time.div_euclid(self.window_ms), value));
        let rows: Vec<_> = rows.filter(|(window, _)| !self.is_closed(*window)).collect();
        self.check_room(rows.iter().map(|(window, _)| *window))?;
        for (window, value) in rows {
            self.open.entry(window).or_default().add(value);
        }
        Ok(Vec::new())
    }

    fn on_watermark(&mut self, _: &Host<'_>, time: i64) -> Result<Vec<Rows>, Failure> {
        self.watermark = self.watermark.max(time);
        let mut closed = Vec::new();
        while let Some((window, _)) = self.open.first_key_value()
            && self.is_closed(*window)
        {
            closed.extend(self.open.pop_first());
        }
        let timestamps = closed.iter().map(|(window, _)| self.last_ms(*window)).collect();
        let numbers = |of: fn(&Window) -> f64| {
            RowValues::Float64(closed.iter().map(|(_, window)| of(window)).collect())
        };
        // A count is far from what 63 bits hold.
        let counts = RowValues::Int64(closed.iter().map(|(_, window)| window.count as i64).collect());
        let columns = vec![
            counts,
            numbers(|window| window.sum),
            numbers(|window| window.min),
            numbers(|window| window.max),
            numbers(Window::mean),
        ];
        Ok(Rows::columns(0, timestamps, columns).if_any())
    }

    fn snapshot(&self) -> Vec<u8> {
        let state = StateWriter::new(STATE_VERSION).i64(self.window_ms).i64(self.watermark);
        let state = state.u64(self.open.len() as u64);
        let add = |state: StateWriter, (number, window): (&i64, &Window)| window.write(state.i64(*number));
        self.open.iter().fold(state, add).finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        let mut state = StateReader::new(STATE_VERSION, state)?;
        let window_ms = state.i64()?;
        if window_ms != self.window_ms {
            return Err(Failure::invalid(format!(
                "the state is of windows of {window_ms} ms, and window_ms is {}; start with the value it had",
                self.window_ms
            )));
        }
        let watermark = state.i64()?;
        let count = state.u64()?;
        let mut open = BTreeMap::new();
        for _ in 0..count {
            open.insert(state.i64()?, Window::read(&mut state)?);
        }
        if open.len() as u64 != count {
            return Err(Failure::invalid("the state has a window twice; give back what `snapshot` gave"));
        }
        state.end()?;
        (self.watermark, self.open) = (watermark, open);
        Ok(())
    }
}

impl WindowAggregate {
    /// Whether the whole window lies before the watermark.
    fn is_closed(&self, window: i64) -> bool {
        (i128::from(window) + 1) * i128::from(self.window_ms) <= i128::from(self.watermark)
    }

    /// The last ms of a window: its row's timestamp, so that no row goes out behind a watermark that went before it.
    fn last_ms(&self, window: i64) -> i64 {
        let last = (i128::from(window) + 1) * i128::from(self.window_ms) - 1;
        i64::try_from(last).unwrap_or(i64::MAX)
    }

    fn check_room(&self, windows: impl Iterator<Item = i64>) -> Result<(), Failure> {
        let mut new = BTreeSet::new();
        for window in windows.filter(|window| !self.open.contains_key(window)) {
            new.insert(window);
            if self.open.len() + new.len() > WINDOWS_MAX {
                return Err(Failure::limit(format!(
                    "the rows need more than {WINDOWS_MAX} open windows of {} ms; \
                     take a greater window_ms, or see that watermarks come",
                    self.window_ms
                )));
            }
        }
        Ok(())
    }
}

mainstem_plugin_sdk::operators!(WindowAggregate);
