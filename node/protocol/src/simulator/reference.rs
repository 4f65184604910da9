//! What was published and acked, and who holds it: what must be where in the end.

use bytes::Bytes;
use mainstem_model::{Ack, AckLevel, Batch, BatchId, SeriesKey, VerifiedBatch};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Brokers whose holdings are followed: a bit each.
const FOLLOWED: usize = 64;

/// Every batch that was ever sealed.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    batches: Vec<Sealed>,
    by_id: BTreeMap<BatchId, usize>,
    /// By the place of their bytes in memory, which all copies share: so nothing is parsed twice. Only ever looked up.
    by_bytes: BTreeMap<usize, usize>,
    /// Series of which a second branch was sealed.
    forked: BTreeSet<SeriesKey>,
    /// Bytes of the greatest batch.
    greatest: usize,
    /// Series of which some disk has lost something.
    torn: BTreeSet<SeriesKey>,
}

/// A batch and its fate.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) batch: Arc<VerifiedBatch>,
    /// When it was first sent; `None`: never yet.
    pub(crate) sent_at: Option<i64>,
    /// Whose right to publish it was taken before it was first sent, or was never there.
    pub(crate) unlawful: bool,
    pub(crate) acked: Option<Ack>,
    /// When an honest broker stored it first.
    pub(crate) stored_at: Option<i64>,
    /// Honest brokers that ever stored it, synced it, and that hold it now.
    stored: u64,
    synced: u64,
    held: u64,
    /// No honest disk held it any more at some time after it had been acked, by power losses and wipes alone.
    pub(crate) lost_by_all: bool,
    /// Some disk has lost it.
    lost: bool,
}

impl Reference {
    pub(crate) fn seal(&mut self, batch: Arc<VerifiedBatch>, unlawful: bool) {
        let number = self.batches.len();
        self.greatest = self.greatest.max(batch.bytes().len());
        self.by_id.insert(batch.id(), number);
        self.by_bytes.insert(batch.bytes().as_ptr() as usize, number);
        self.batches.push(Sealed {
            batch,
            sent_at: None,
            unlawful,
            acked: None,
            stored_at: None,
            stored: 0,
            synced: 0,
            held: 0,
            lost_by_all: false,
            lost: false,
        });
    }

    pub(crate) fn fork(&mut self, series: SeriesKey) {
        self.forked.insert(series);
    }

    pub(crate) const fn greatest(&self) -> usize {
        self.greatest
    }

    pub(crate) fn is_forked(&self, series: &SeriesKey) -> bool {
        self.forked.contains(series)
    }

    pub(crate) fn is_torn(&self, series: &SeriesKey) -> bool {
        self.torn.contains(series)
    }

    pub(crate) fn all(&self) -> &[Sealed] {
        &self.batches
    }

    pub(crate) fn find(&self, id: BatchId) -> Option<&Sealed> {
        self.by_id.get(&id).map(|number| &self.batches[*number])
    }

    /// The batch that was delivered; `None` if nobody ever sealed it.
    pub(crate) fn delivered(&self, bytes: &Bytes) -> Option<&Sealed> {
        let known = self.by_bytes.get(&(bytes.as_ptr() as usize)).map(|number| &self.batches[*number]);
        match known {
            Some(sealed) if sealed.batch.bytes().len() == bytes.len() => Some(sealed),
            _ => self.find(Batch::parse(bytes.clone()).ok()?.id()),
        }
    }

    fn change(&mut self, id: BatchId, change: impl FnOnce(&mut Sealed)) {
        if let Some(number) = self.by_id.get(&id) {
            change(&mut self.batches[*number]);
        }
    }

    pub(crate) fn note_sent(&mut self, id: BatchId, now: i64, unlawful: bool) {
        self.change(id, |sealed| {
            if sealed.sent_at.is_none() {
                sealed.sent_at = Some(now);
                sealed.unlawful |= unlawful;
            }
        });
    }

    pub(crate) fn note_stored(&mut self, id: BatchId, broker: usize, now: i64) {
        let bit = bit(broker);
        self.change(id, |sealed| {
            sealed.stored_at = sealed.stored_at.or(Some(now));
            sealed.stored |= bit;
            sealed.held |= bit;
        });
    }

    pub(crate) fn note_synced(&mut self, id: BatchId, broker: usize) {
        self.change(id, |sealed| sealed.synced |= bit(broker));
    }

    /// A disk has lost it.
    pub(crate) fn note_lost(&mut self, batch: &VerifiedBatch, broker: usize) {
        self.torn.insert(SeriesKey::of(batch.header()));
        self.change(batch.id(), |sealed| {
            sealed.held &= !bit(broker);
            sealed.lost_by_all |= sealed.held == 0;
            sealed.lost = true;
        });
    }

    /// A disk has lost everything.
    pub(crate) fn note_wiped(&mut self, broker: usize) {
        let bit = bit(broker);
        for sealed in &mut self.batches {
            if sealed.held & bit != 0 {
                self.torn.insert(SeriesKey::of(sealed.batch.header()));
                sealed.held &= !bit;
                sealed.lost_by_all |= sealed.held == 0;
                sealed.lost = true;
            }
        }
    }

    /// An ack was given: at how many honest brokers what it says is or was so.
    pub(crate) fn note_acked(&mut self, id: BatchId, ack: Ack) -> u32 {
        let mut copies = 0;
        self.change(id, |sealed| {
            copies = match ack.level {
                AckLevel::Accepted => u32::from(ack.copies),
                AckLevel::Stored => sealed.stored.count_ones(),
                AckLevel::Durable => sealed.synced.count_ones(),
            };
            sealed.acked = sealed.acked.max(Some(ack));
            // Sent again after it was lost, it is safe again.
            if ack.level > AckLevel::Accepted && sealed.held != 0 {
                sealed.lost_by_all = false;
            }
        });
        copies
    }

    /// Batches that every broker they are assigned to must hold in the end.
    pub(crate) fn required(&self) -> impl Iterator<Item = &Sealed> {
        self.batches.iter().filter(|sealed| sealed.is_required()).filter(|sealed| {
            // Of a frozen series brokers may have stopped at different places.
            !self.forked.contains(&SeriesKey::of(sealed.batch.header()))
        })
    }
}

impl Sealed {
    fn is_required(&self) -> bool {
        let acked = self.acked.is_some_and(|ack| ack.level > AckLevel::Accepted);
        // An ack that stands on a hostile broker's word alone promises nothing.
        acked && self.stored != 0 && !self.lost_by_all
    }

    /// Who was told of it may be told again: it was lost and came again.
    pub(crate) const fn may_come_again(&self) -> bool {
        self.lost
    }
}

const fn bit(broker: usize) -> u64 {
    if broker < FOLLOWED { 1 << broker } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{CHAIN, publisher::seal};
    use mainstem_crypto::SecretKey;
    use mainstem_model::{Address, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, Verifier};

    fn one() -> (Reference, Arc<VerifiedBatch>) {
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        let signer = Signer::wallet(SecretKey::from_bytes(&[3; 32]).unwrap());
        let mut writer = SeriesWriter::new(CHAIN, at, signer, SeriesId(1));
        let event = NewEvent::binary(1, vec![0; 9].into());
        let batch = seal(&mut writer, &[event], &Verifier::new(CHAIN)).unwrap();
        let mut reference = Reference::default();
        reference.seal(batch.clone(), false);
        (reference, batch)
    }

    fn is_required(reference: &Reference) -> bool {
        reference.required().count() == 1
    }

    #[test]
    fn a_batch_is_required_once_it_is_acked_as_stored_and_while_one_disk_holds_it() {
        let (mut reference, batch) = one();
        let id = batch.id();
        reference.note_acked(id, AckLevel::Accepted.into());
        assert!(!is_required(&reference), "it may go with the process");
        assert_eq!(reference.note_acked(id, AckLevel::Stored.into()), 0);
        assert!(!is_required(&reference), "only a hostile broker says that it has it");
        reference.note_stored(id, 1, 0);
        reference.note_stored(id, 2, 0);
        assert_eq!(reference.note_acked(id, AckLevel::Stored.into()), 2);
        assert_eq!(reference.note_acked(id, AckLevel::Durable.into()), 0, "no sync has returned");
        reference.note_lost(&batch, 1);
        assert!(is_required(&reference), "another has it");
        reference.note_wiped(2);
        assert!(!is_required(&reference), "nobody has it");
        reference.note_stored(id, 3, 0);
        assert!(!is_required(&reference), "it came back by luck");
        reference.note_acked(id, AckLevel::Stored.into());
        assert!(is_required(&reference), "it was published again");
    }

    #[test]
    fn a_delivered_batch_is_known_by_its_bytes_wherever_they_lie() {
        let (reference, batch) = one();
        let copy = Bytes::copy_from_slice(batch.bytes());
        for bytes in [batch.bytes(), &copy] {
            assert_eq!(reference.delivered(bytes).unwrap().batch.id(), batch.id());
        }
        assert!(reference.delivered(&copy.slice(1..)).is_none());
    }
}
