//! A broker's store: what it keeps, what of that outlives its process, and what outlives its power.

mod log;

use super::random::Random;
use crate::WriteToken;
use log::Kept;
pub(crate) use log::Log;
use mainstem_model::{Equivocation, Origin, SeriesKey, StreamPartition, VerifiedBatch};
use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

/// By how much positions leap when a store is opened: more than were ever lost at once.
const LEAP: u64 = 1_000;

/// A store. What is asked of it waits in a queue until the world says that it is written; what is written is lost with the
/// power until the world says that it is synced.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) log: Log,
    queue: VecDeque<Queued>,
    /// Number of the last thing asked for, written, synced: in one order.
    asked: u64,
    written: u64,
    synced: u64,
    /// Written and not synced.
    unsynced: VecDeque<(u64, Record)>,
    /// Who waits for a sync, by the number it must reach.
    waiting: Vec<(u64, Wait)>,
    proofs: BTreeMap<(StreamPartition, Origin), VecDeque<(SeriesKey, usize)>>,
    /// When the last completion comes: they come in order.
    pub(crate) completes_at: i64,
    pub(crate) slow_until: i64,
}

#[derive(Debug)]
struct Queued {
    number: u64,
    write: WriteToken,
    what: What,
}

#[derive(Debug)]
enum What {
    Batch { batch: Arc<VerifiedBatch>, received_at: i64, past: bool },
    Proof { proof: Box<Equivocation>, bytes_max: usize },
}

#[derive(Debug)]
enum Record {
    Batch(Arc<Kept>),
    Frozen(SeriesKey),
}

#[derive(Debug)]
enum Wait {
    Durable(WriteToken),
    Frozen(WriteToken),
}

/// What one pass of the writer did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The writes and their positions; those of the past have none.
    pub(crate) stored: Vec<(WriteToken, u64)>,
    /// What is on the disk now.
    pub(crate) batches: Vec<Arc<VerifiedBatch>>,
    /// One whose place was taken, or that does not go on from the one before it.
    pub(crate) wrong: Option<Arc<VerifiedBatch>>,
    /// Somebody waits for a sync.
    pub(crate) sync: bool,
}

/// What one sync did.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    pub(crate) durable: Vec<WriteToken>,
    pub(crate) frozen: Vec<WriteToken>,
    pub(crate) batches: Vec<Arc<VerifiedBatch>>,
}

impl Disk {
    pub(crate) fn new(log: u64) -> Self {
        Self {
            log: Log::new(log),
            queue: VecDeque::new(),
            asked: 0,
            written: 0,
            synced: 0,
            unsynced: VecDeque::new(),
            waiting: Vec::new(),
            proofs: BTreeMap::new(),
            completes_at: 0,
            slow_until: 0,
        }
    }

    /// Whether the writer has something to do that it had not before this.
    pub(crate) fn append(
        &mut self,
        write: WriteToken,
        batch: Arc<VerifiedBatch>,
        received_at: i64,
        durable: bool,
        past: bool,
    ) -> bool {
        self.ask(write, What::Batch { batch, received_at, past });
        if durable {
            self.waiting.push((self.asked, Wait::Durable(write)));
        }
        self.queue.len() == 1
    }

    /// As [`Disk::append`].
    pub(crate) fn freeze(&mut self, write: WriteToken, proof: Box<Equivocation>, bytes_max: usize) -> bool {
        self.ask(write, What::Proof { proof, bytes_max });
        self.queue.len() == 1
    }

    /// Whether nothing is left to write before the sync that this asks for.
    pub(crate) fn sync(&mut self, write: WriteToken) -> bool {
        self.waiting.push((self.asked, Wait::Durable(write)));
        self.queue.is_empty()
    }

    fn ask(&mut self, write: WriteToken, what: What) {
        self.asked += 1;
        self.queue.push_back(Queued { number: self.asked, write, what });
    }

    /// Writes what is queued.
    pub(crate) fn write(&mut self) -> Written {
        let mut done = Written::default();
        for Queued { number, write, what } in mem::take(&mut self.queue) {
            self.written = number;
            match what {
                What::Batch { batch, received_at, past } => {
                    let taken = self.log.has(&SeriesKey::of(batch.header()), batch.header().sequence);
                    if taken && past {
                        // It is there already, as a store has it.
                        done.stored.push((write, u64::MAX));
                        continue;
                    }
                    if taken || self.log.breaks(&batch) {
                        done.wrong = Some(batch.clone());
                    }
                    let kept = self.log.append(batch.clone(), received_at, past);
                    done.stored.push((write, kept.position.unwrap_or(u64::MAX)));
                    done.batches.push(batch);
                    self.unsynced.push_back((number, Record::Batch(kept)));
                }
                What::Proof { proof, bytes_max } => {
                    let series = proof.series();
                    if !self.log.is_frozen(&series) {
                        let proofs = self.proofs.entry((series.stream_partition, series.origin)).or_default();
                        let bytes = proof.first.bytes().len() + proof.second.bytes().len();
                        proofs.push_back((series, bytes));
                        while proofs.iter().map(|(_, bytes)| bytes).sum::<usize>() > bytes_max
                            && proofs.len() > 1
                            && let Some((gone, _)) = proofs.pop_front()
                        {
                            self.log.forget_proof(&gone);
                        }
                        self.log.freeze(&series, (proof.first.bytes().clone(), proof.second.bytes().clone()));
                        self.unsynced.push_back((number, Record::Frozen(series)));
                    }
                    self.waiting.push((number, Wait::Frozen(write)));
                }
            }
        }
        done.sync = !self.waiting.is_empty();
        done
    }

    /// The number that a sync which begins now reaches.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// A sync has returned.
    pub(crate) fn synced(&mut self, number: u64) -> Synced {
        self.synced = self.synced.max(number);
        let mut done = Synced::default();
        while let Some((_, record)) = self.unsynced.pop_front_if(|(of, _)| *of <= number) {
            if let Record::Batch(kept) = record {
                done.batches.push(kept.batch.clone());
            }
        }
        let (ready, left) = mem::take(&mut self.waiting).into_iter().partition(|(of, _)| *of <= number);
        self.waiting = left;
        let ready: Vec<(u64, Wait)> = ready;
        for (_, wait) in ready {
            match wait {
                Wait::Durable(write) => done.durable.push(write),
                Wait::Frozen(write) => done.frozen.push(write),
            }
        }
        done
    }

    /// Whether somebody waits for a sync of what is written.
    pub(crate) fn wants_sync(&self) -> bool {
        self.waiting.iter().any(|(number, _)| *number <= self.written)
    }

    /// The process ends: what was not written is gone.
    pub(crate) fn kill(&mut self) {
        self.queue.clear();
        self.waiting.clear();
        self.asked = self.written;
        self.log.leap(LEAP);
    }

    /// Forgets the last batch that was written and not synced, as no disk should.
    pub(crate) fn forget_last(&mut self) {
        if let Some((_, Record::Batch(kept))) = self.unsynced.pop_back() {
            self.log.forget(&kept);
        }
    }

    /// The power fails: what was not synced is gone from some point of the journal on. Gives the batches that were lost, and
    /// those that were not synced and are there.
    pub(crate) fn lose_power(&mut self, random: &mut Random) -> [Vec<Arc<VerifiedBatch>>; 2] {
        self.kill();
        let keep = random.below(self.unsynced.len() as u64 + 1) as usize;
        let mut lost = Vec::new();
        for (_, record) in self.unsynced.drain(keep..).rev() {
            match record {
                Record::Batch(kept) => {
                    self.log.forget(&kept);
                    lost.push(kept.batch.clone());
                }
                Record::Frozen(series) => {
                    if let Some(proofs) = self.proofs.get_mut(&(series.stream_partition, series.origin)) {
                        proofs.retain(|(other, _)| *other != series);
                    }
                    self.log.thaw(&series);
                }
            }
        }
        // What the machine finds when it comes back is on the platter.
        let mut left = Vec::new();
        for (_, record) in self.unsynced.drain(..) {
            if let Record::Batch(kept) = record {
                left.push(kept.batch.clone());
            }
        }
        self.synced = self.written;
        [lost, left]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_crypto::SecretKey;
    use mainstem_model::{
        Address, Batch, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, Verifier,
    };

    fn batches(count: i64) -> Vec<Arc<VerifiedBatch>> {
        let network = Network { chain_id: 1, registry: Address([1; 20]) };
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        let signer = Signer::wallet(SecretKey::from_bytes(&[3; 32]).unwrap());
        let mut writer = SeriesWriter::new(network, at, signer, SeriesId(1));
        let verifier = Verifier::new(network);
        let seal = |time| {
            let batch = writer.seal(&[NewEvent::binary(time, vec![0; 9].into())]).unwrap();
            Arc::new(verifier.verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap())
        };
        (0..count).map(seal).collect()
    }

    #[test]
    fn a_kill_loses_what_was_not_written_and_a_power_loss_some_of_what_was_not_synced() {
        let mut suffixes = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut disk = Disk::new(1);
            let batches = batches(6);
            let key = SeriesKey::of(batches[0].header());
            let append = |disk: &mut Disk, n: usize| {
                disk.append(WriteToken(n as u64), batches[n].clone(), 0, n == 1, false)
            };
            assert!(append(&mut disk, 0));
            assert!(!append(&mut disk, 1), "the writer is under way");
            assert_eq!(disk.write().stored, [(WriteToken(0), 0), (WriteToken(1), 1)]);
            assert!(disk.wants_sync());
            assert_eq!(disk.synced(disk.written()).durable, [WriteToken(1)]);
            append(&mut disk, 2);
            append(&mut disk, 3);
            disk.write();
            append(&mut disk, 4);
            disk.kill();
            assert_eq!(disk.log.head(&key).unwrap().next_sequence, 4);
            let [lost, left] = disk.lose_power(&mut Random::new(seed)).map(|batches| batches.len() as u64);
            assert_eq!(lost + left, 2);
            assert_eq!(disk.log.head(&key).unwrap().next_sequence, 4 - lost, "what was synced stays");
            suffixes.insert(lost);
            append(&mut disk, 4 - lost as usize);
            let (_, position) = disk.write().stored[0];
            assert!(position > 3, "no position is given twice");
        }
        assert_eq!(suffixes.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
