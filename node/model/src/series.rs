use crate::{
    Batch, BatchError, BatchId, Delegation, Header, Network, NewEvent, Origin, SchemeSigner, SeriesId,
    SignatureType, StreamPartition, batch::check_events,
};
use mainstem_crypto::{SecretKey, merkle, personal_message_digest};
use std::{ops::RangeInclusive, sync::Arc};

/// Names one series within the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Where it runs.
    pub stream_partition: StreamPartition,
    /// Whose it is.
    pub origin: Origin,
    /// Which of the origin's.
    pub series: SeriesId,
}

impl SeriesKey {
    /// The series that a header belongs to.
    pub const fn of(header: &Header) -> Self {
        Self { stream_partition: header.stream_partition, origin: header.origin, series: header.series }
    }

    /// Every series of the same origin in the same partition, this one included: they lie together in the order of keys.
    pub const fn of_same_origin(&self) -> RangeInclusive<Self> {
        Self { series: SeriesId(0), ..*self }..=Self { series: SeriesId(u64::MAX), ..*self }
    }
}

/// How far a series has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesHead {
    /// Sequence that the next batch must have.
    pub next_sequence: u64,
    /// Id of the last batch, [`BatchId::NONE`] before the first.
    pub last: BatchId,
    /// Least timestamp of the last batch, `i64::MIN` before the first. It never goes back, so that the order of history
    /// is the order of the series.
    pub timestamp: i64,
    /// Two batches were seen for one place: no more are taken.
    pub frozen: bool,
}

/// What a batch is to a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesVerdict {
    /// It goes on where the series stands.
    Next,
    /// Its place is taken already: a duplicate, or an equivocation; who knows the id at that place can tell.
    Past,
    /// It continues from a batch that is not the last one here although its number fits: the origin has forked the series, but
    /// the batch that proves it is not here.
    Fork,
    /// Batches before it are missing.
    Gap,
    /// It would be the next, but its least timestamp is before that of the last batch.
    Backdated,
}

impl SeriesHead {
    /// Before the first batch.
    pub const START: Self =
        Self { next_sequence: 0, last: BatchId::NONE, timestamp: i64::MIN, frozen: false };

    /// What `header` is to this series.
    pub fn judge(&self, header: &Header) -> SeriesVerdict {
        if header.sequence < self.next_sequence {
            SeriesVerdict::Past
        } else if header.sequence > self.next_sequence {
            SeriesVerdict::Gap
        } else if header.previous != self.last {
            SeriesVerdict::Fork
        } else if header.timestamp_min < self.timestamp {
            SeriesVerdict::Backdated
        } else {
            SeriesVerdict::Next
        }
    }

    /// The head after `batch`, which must be [`SeriesVerdict::Next`].
    pub const fn after(batch: &Batch) -> Self {
        let header = batch.header();
        Self {
            next_sequence: header.next_sequence(),
            last: batch.id(),
            timestamp: header.timestamp_min,
            frozen: false,
        }
    }
}

/// Something in this process that signs batches.
#[derive(Clone, Debug)]
pub struct Signer {
    origin: Origin,
    means: Means,
}

#[derive(Clone, Debug)]
enum Means {
    Wallet(SecretKey),
    Session { key: SecretKey, delegation: Vec<u8> },
    Scheme(Arc<dyn SchemeSigner>),
}

impl Signer {
    /// Signs as the holder of `key` itself: signature type 1.
    pub fn wallet(key: SecretKey) -> Self {
        Self { origin: Origin::ethereum(key.address()), means: Means::Wallet(key) }
    }

    /// Signs with a session key in the name of the wallet that signed `delegation`: signature type 2.
    ///
    /// # Errors
    /// The delegation names another session key, or fits no wallet.
    pub fn session(network: &Network, key: SecretKey, delegation: &Delegation) -> Result<Self, BatchError> {
        if delegation.session_key != key.address() {
            return Err(BatchError::Delegation("it names another session key"));
        }
        let origin = Origin::ethereum(delegation.wallet(network)?.address());
        Ok(Self { origin, means: Means::Session { key, delegation: delegation.encode() } })
    }

    /// Signs by a scheme that is not built in.
    pub fn scheme(signer: Arc<dyn SchemeSigner>) -> Self {
        Self { origin: signer.origin(), means: Means::Scheme(signer) }
    }

    /// In whose name it signs.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// How it signs.
    pub fn signature_type(&self) -> SignatureType {
        match &self.means {
            Means::Wallet(_) => SignatureType::SECP256K1,
            Means::Session { .. } => SignatureType::DELEGATED,
            Means::Scheme(signer) => signer.signature_type(),
        }
    }

    fn sign(&self, id: BatchId) -> Result<Vec<u8>, BatchError> {
        match &self.means {
            Means::Wallet(key) | Means::Session { key, .. } => {
                Ok(key.sign(&personal_message_digest(&id.0)).as_bytes().to_vec())
            }
            Means::Scheme(signer) => {
                signer.sign(id).map_err(|fault| BatchError::Plugin(signer.signature_type().0, fault))
            }
        }
    }

    fn delegation(&self) -> &[u8] {
        match &self.means {
            Means::Session { delegation, .. } => delegation,
            Means::Wallet(_) | Means::Scheme(_) => &[],
        }
    }
}

/// Seals events into the batches of one series, numbered and chained.
#[derive(Clone, Debug)]
pub struct SeriesWriter {
    network: Network,
    key: SeriesKey,
    head: SeriesHead,
    signer: Signer,
}

impl SeriesWriter {
    /// A new series. `series` should be random: a publisher that starts anew starts a new series.
    pub fn new(
        network: Network,
        stream_partition: StreamPartition,
        signer: Signer,
        series: SeriesId,
    ) -> Self {
        Self {
            network,
            key: SeriesKey { stream_partition, origin: signer.origin, series },
            head: SeriesHead::START,
            signer,
        }
    }

    /// Which series this writes.
    pub const fn key(&self) -> &SeriesKey {
        &self.key
    }

    /// How far it has come.
    pub const fn head(&self) -> &SeriesHead {
        &self.head
    }

    /// Signs `events` as the next batch. Costs about 35 µs and 0.25 µs an event. On an error the series stands where it was.
    ///
    /// # Errors
    /// No events, more than 1024, contents over the limits, timestamps more than 60 s apart or before the last batch's least; and
    /// what a [`SchemeSigner`] says.
    pub fn seal(&mut self, events: &[NewEvent]) -> Result<Batch, BatchError> {
        check_events(events.iter().map(|event| event.content.len()))?;
        let mut leaves: Vec<_> = events.iter().map(|event| event.as_ref().leaf_hash()).collect();
        let times = events.iter().map(|event| event.timestamp);
        let timestamp_min = times.clone().min().unwrap_or_default();
        if timestamp_min < self.head.timestamp {
            return Err(BatchError::Timestamps(
                "the time of a series does not go back; begin another series",
            ));
        }
        let header = Header {
            network: self.network.id(),
            stream_partition: self.key.stream_partition,
            origin: self.key.origin,
            series: self.key.series,
            sequence: self.head.next_sequence,
            // At most EVENTS_PER_BATCH_MAX.
            count: events.len() as u16,
            previous: self.head.last,
            merkle_root: merkle::root_in_place(&mut leaves),
            timestamp_min,
            timestamp_max: times.max().unwrap_or_default(),
            signature_type: self.signer.signature_type(),
        };
        let signature = self.signer.sign(header.id())?;
        let batch = Batch::assemble(&header, &signature, self.signer.delegation(), events)?;
        self.head = SeriesHead::after(&batch);
        Ok(batch)
    }
}
