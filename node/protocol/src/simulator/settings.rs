use super::{
    faults::{FaultKind, Faults},
    hostile::HostileKind,
    random::Random,
    sabotage::Sabotage,
};
use crate::Config;
use mainstem_model::{Ack, AckLevel, limits::BATCH_BYTES_MAX};

/// Which brokers have sessions with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// All, from the start and again whenever one ends.
    Full,
    /// Who asks for a session with another has one a round trip later, until it is of no more use. For worlds in which all with
    /// all would be too many.
    OnDemand,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything that is drawn is drawn from this.
    pub seed: u64,
    /// How many brokers. Who holds what is followed for the first 64.
    pub brokers: usize,
    /// How many of them carry a partition; `None`: there is no assignment, each broker is alone.
    pub replicas: Option<u8>,
    /// How many of them count in the assignment, from the first on; the others serve clients only.
    pub members: usize,
    /// How many shards, a power of two.
    pub shards: u32,
    /// Partitions of the stream.
    pub partitions: u16,
    /// How many publish.
    pub publishers: usize,
    /// A publisher publishes about once in so many milliseconds.
    pub publish_every_ms: i64,
    /// Publishers begin after so many milliseconds.
    pub warm_up_ms: i64,
    /// What publishers wait for; `None`: now this, now that.
    pub ack: Option<Ack>,
    /// How many subscribe; the n-th at broker n when `subscribers_spread`, else anywhere.
    pub subscribers: usize,
    /// They begin after so many milliseconds.
    pub subscribers_after_ms: i64,
    /// One subscriber a broker, all live from now on: a world to measure delivery in.
    pub subscribers_spread: bool,
    /// Of so many reads and writes one takes up to 400 ms instead of up to 12. 0: none.
    pub slow_io_one_in: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// What the chain says reaches a broker within so long, milliseconds.
    pub news_ms_max: i64,
    /// So many of a hundred brokers that are no members are killed in a minute, and come again.
    pub churn_percent_per_minute: usize,
    /// The last brokers are of these kinds.
    pub hostile: Vec<HostileKind>,
    /// Who has sessions with whom.
    pub mesh: Mesh,
    /// Distances are divided by this.
    pub nearer: i64,
    /// Of so many messages one needs to be sent again and comes a round trip later; what is behind it on its lane waits. 0: none.
    pub loss_one_in: u64,
    /// What a session carries, bytes in a millisecond, each way.
    pub bytes_per_ms: i64,
    /// Bytes that wait for a session to carry them. One more and the session ends.
    pub queue_bytes_max: i64,
    /// The brokers' bounds.
    pub node: Config,
    /// Something that the checks are to find.
    pub sabotage: Option<Sabotage>,
    /// A violation ends the run; else it is counted, as for a machine that promises less.
    pub strict: bool,
    /// Keep what happens as text: slow, for reading one seed.
    pub tracing: bool,
    /// Count copies, hops and bytes: see [`Meter`](super::Meter).
    pub metering: bool,
    /// Who stays longer with one that leaves out batches does wrong, milliseconds.
    pub withheld_ms_max: Option<i64>,
    /// A proof that one owner keeps is to be kept by all after so long, milliseconds.
    pub proven_ms_max: Option<i64>,
    /// Nothing happens, and nobody is hostile: when all have begun no broker finds another one wanting.
    pub blameless: bool,
    /// Who reads what is new is told nothing that some broker had for longer when it began, milliseconds.
    pub old_news_ms_max: Option<i64>,
    /// No ring of relays stands for longer, milliseconds.
    pub ring_ms_max: Option<i64>,
    /// A reader that is live is told a batch no later than this after it was sent, milliseconds.
    pub told_ms_max: Option<i64>,
    /// A publisher hears of a batch no later than this after it was sent, milliseconds.
    pub answered_ms_max: Option<i64>,
    /// Batches wait for those before them no longer than this, milliseconds.
    pub parked_ms_max: Option<i64>,
    /// Somebody publishes batches of another time than now; liars have some of them.
    pub untimely: bool,
    /// Epochs begin about every so many milliseconds.
    pub epoch_every_ms: i64,
    /// Disks are wiped about every so many milliseconds.
    pub wipe_every_ms: i64,
    /// How often a publisher forks its series in the mean.
    pub fork_every_ms: i64,
    /// Nothing is lost, so that no publisher has to begin another series.
    pub lossless: bool,
    /// Publishers come back to the broker that they were at, if it is there.
    pub publishers_stay: bool,
    /// Clocks are put forward only.
    pub clocks_forward: bool,
    /// The second of two batches for one place comes so long after the first, milliseconds.
    pub fork_after_ms: i64,
}

impl Settings {
    /// One broker that knows no other.
    pub fn alone(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xA10E);
        Self {
            brokers: 1,
            members: 1,
            replicas: None,
            publishers: 3 + random.below(3) as usize,
            subscribers: 4 + random.below(4) as usize,
            faults: Faults::some_of(&FaultKind::ALONE, &mut random),
            ..Self::quiet(seed)
        }
    }

    /// Seven brokers and a random half of all faults, one of the brokers hostile in every third seed.
    pub fn swarm(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5A12);
        let faults = Faults::some_of(&FaultKind::ALL, &mut random);
        let hostile = if random.one_in(3) { random.pick(&HostileKind::SWARM) } else { None };
        let nearer = random.pick(&[1, 2, 10]).unwrap_or(1);
        Self { faults, hostile: hostile.into_iter().collect(), nearer, ..Self::quiet(seed) }
    }

    /// `brokers` that each have a live subscriber of one stream that 3 of the first 7 carry; nothing goes wrong.
    pub fn scale(seed: u64, brokers: usize) -> Self {
        Self {
            brokers,
            members: brokers.min(7),
            partitions: 1,
            publishers: 1,
            subscribers: brokers,
            subscribers_spread: true,
            warm_up_ms: 5_000,
            ack: Some(AckLevel::Accepted.into()),
            mesh: Mesh::OnDemand,
            metering: true,
            // What is between brokers is measured, not their disks.
            slow_io_one_in: 0,
            node: Config::default(),
            ..Self::quiet(seed)
        }
    }

    /// Seven brokers of which three carry each partition; nothing goes wrong.
    pub fn quiet(seed: u64) -> Self {
        /// Small, so that readers fall behind now and then.
        const QUEUE_MAX: usize = 3_000;
        let node = Config {
            subscription_queue_bytes_max: QUEUE_MAX,
            delivery_queue_bytes_max: BATCH_BYTES_MAX + 3 * QUEUE_MAX,
            series_cache_max: 4,
            ..Config::default()
        };
        Self {
            seed,
            brokers: 7,
            replicas: Some(3),
            members: 7,
            shards: 8,
            partitions: 4,
            publishers: 6,
            publish_every_ms: 900,
            warm_up_ms: 0,
            ack: None,
            subscribers: 10,
            subscribers_after_ms: 0,
            subscribers_spread: false,
            slow_io_one_in: 20,
            news_ms_max: 3_000,
            faults: Faults::NONE,
            churn_percent_per_minute: 0,
            hostile: Vec::new(),
            mesh: Mesh::Full,
            nearer: 1,
            loss_one_in: 0,
            // 100 Mbit/s.
            bytes_per_ms: 12_500,
            queue_bytes_max: 8 << 20,
            node,
            sabotage: None,
            strict: true,
            tracing: false,
            metering: false,
            withheld_ms_max: None,
            proven_ms_max: None,
            blameless: false,
            old_news_ms_max: None,
            ring_ms_max: None,
            told_ms_max: None,
            answered_ms_max: None,
            parked_ms_max: None,
            untimely: false,
            epoch_every_ms: FaultKind::Epoch.every_ms(),
            wipe_every_ms: FaultKind::Wipe.every_ms(),
            fork_every_ms: FaultKind::Equivocate.every_ms(),
            lossless: false,
            publishers_stay: false,
            clocks_forward: false,
            fork_after_ms: 0,
        }
    }

    /// Whether broker `n` is honest.
    pub fn is_honest(&self, n: usize) -> bool {
        n + self.hostile.len() < self.brokers
    }

    pub(crate) fn hostility(&self, n: usize) -> Option<HostileKind> {
        let honest = self.brokers.saturating_sub(self.hostile.len());
        n.checked_sub(honest).and_then(|index| self.hostile.get(index)).copied()
    }
}
