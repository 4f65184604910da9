use crate::{Batch, BatchError, SeriesKey, Verifier};

/// Proof that an origin signed two different batches for one place of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivocation {
    /// The one that came first here.
    pub first: Batch,
    /// The other.
    pub second: Batch,
}

impl Equivocation {
    /// The series that was broken.
    pub const fn series(&self) -> SeriesKey {
        SeriesKey::of(self.first.header())
    }

    /// Whether this proves anything: both batches hold, are of one series, differ, and claim a common event number.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, verifier: &Verifier) -> Result<(), BatchError> {
        let (a, b) = (self.first.header(), self.second.header());
        if SeriesKey::of(a) != SeriesKey::of(b) {
            return Err(BatchError::Malformed("the two batches are of different series"));
        }
        if self.first.id() == self.second.id() {
            return Err(BatchError::Malformed("the two batches are the same"));
        }
        if a.sequence >= b.next_sequence() || b.sequence >= a.next_sequence() {
            return Err(BatchError::Malformed("the two batches are for different places of the series"));
        }
        verifier.verify(self.first.clone())?;
        verifier.verify(self.second.clone())?;
        Ok(())
    }
}
