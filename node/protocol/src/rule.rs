//! The rules of the network by name, so that a test can switch one off and see that this does not pass unseen.

/// A rule that brokers keep. Each is looked up where it holds: [`Config::keeps`](crate::Config).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "test-utils"), expect(unreachable_pub, reason = "a name in tests only"))]
pub enum Rule {
    // ------------------------------------------------ whose batches are taken in
    /// Who publishes here has the right.
    RightsOfClients,
    /// A batch that another broker wants kept is of one who has the right.
    RightsOfStores,
    /// What a link tells is of one who has the right, or had it.
    RightsOfFeeds,
    /// What repair brings is of one who has the right, or had it.
    RightsOfRepairs,
    /// Pages of the past that another broker reads are of what was asked for, and of those who had the right.
    RightsOfPages,
    /// Who has lost its right had it: what was taken in then is repaired.
    FormerRights,

    // ------------------------------------------------ series
    /// A batch that lacks those before it waits for them.
    Gaps,
    /// A batch that is here is not taken in again.
    Duplicates,
    /// A batch goes on from the one before it that is here.
    Forks,
    /// A frozen series takes no more.
    Frozen,
    /// Two batches are a proof if they are of one place.
    Proofs,
    /// Who has not heard of a proof is sent it.
    ProofsAnswered,

    // ------------------------------------------------ acks
    /// An ack of n brokers waits for n.
    AckCount,
    /// A broker counts for the level that it says.
    AckLevel,
    /// A broker counts if it is to keep the batch.
    AckKeepers,
    /// *Durable* is said when fsync has returned.
    AckFsync,

    // ------------------------------------------------ repair
    /// Brokers compare what they keep.
    Comparing,
    /// Who answers a pull with nothing is passed over.
    PullElsewhere,
    /// Who fills up history is not ready before it is stored.
    FilledIsStored,
    /// Only one that has all is believed of where a series begins.
    BegunByReady,
    /// Who keeps a partition gets what it lacks from where it stands, and not by age.
    KeepersBySequence,
    /// What was lacking where a reader was is looked for elsewhere.
    SeamAgain,
    /// That all of a series is history is believed of one that has said to have it.
    AgedByClaim,
    /// What was lacking where a reader was is looked for at those too that do not have all.
    SeamAnywhere,
    /// A broker that sees an epoch late is not ready for it.
    ReadyInEpoch,
    /// Who kept a shard before and has another log since has nothing of it.
    FormerLogs,
    /// Where a series begins of late is asked of two.
    BegunByTwo,
    /// A pull that is not answered is given up.
    LatePulls,
    /// A pull brings what was asked for.
    PulledWasAsked,
    /// What lies before the beginning of a series is filled up.
    FillsUp,
    /// What a broker fills up is history, and no news.
    PastIsNoNews,
    /// It is filled up from its end to its beginning, so that what is broken off leaves no hole behind.
    FillsBackwards,
    /// What fills up is asked for again when the journal has room.
    FillsWithRoom,

    // ------------------------------------------------ who keeps a shard
    /// A broker says that it is ready when it has all that it is to keep.
    SaysWhenReady,
    /// The owners before go on until those after are ready.
    HandsOver,

    // ------------------------------------------------ links
    /// Other links tell heads, so that what the first leaves out is seen.
    SecondLink,
    /// They are as many as hold against two that hide everything together.
    FurtherLinks,
    /// A link that leaves something out is left.
    Withheld,
    /// What is new when a link begins is for it to tell.
    OwedFromTheStart,
    /// A link that says nothing is left.
    SilentLinks,
    /// A link asks for what has changed since nothing was missed for certain.
    AsksBack,

    // ------------------------------------------------ readers of the past
    /// A reader of what came before goes to a broker that has it.
    SentAway,
    /// A read elsewhere that is not answered is given up.
    LateReads,
    /// Where two logs meet, what was had is not told again.
    Seam,

    // ------------------------------------------------ bounds
    /// What is on its way to one that keeps copies has a bound.
    CopyWindow,
    /// What is on its way over a link has a bound.
    LinkWindow,
    /// What waits for those before it has a bound.
    ParkedBytes,
    /// Links that others have here have a bound.
    Followers,
    /// Pulls have a bound.
    Pulls,
}

#[cfg(feature = "test-utils")]
impl Rule {
    /// Every rule.
    pub const ALL: [Self; 49] = [
        Self::RightsOfClients,
        Self::RightsOfStores,
        Self::RightsOfFeeds,
        Self::RightsOfRepairs,
        Self::RightsOfPages,
        Self::FormerRights,
        Self::Gaps,
        Self::Duplicates,
        Self::Forks,
        Self::Frozen,
        Self::Proofs,
        Self::ProofsAnswered,
        Self::AckCount,
        Self::AckLevel,
        Self::AckKeepers,
        Self::AckFsync,
        Self::Comparing,
        Self::PullElsewhere,
        Self::BegunByReady,
        Self::KeepersBySequence,
        Self::SeamAgain,
        Self::FilledIsStored,
        Self::AgedByClaim,
        Self::SeamAnywhere,
        Self::ReadyInEpoch,
        Self::FormerLogs,
        Self::BegunByTwo,
        Self::LatePulls,
        Self::PulledWasAsked,
        Self::FillsUp,
        Self::PastIsNoNews,
        Self::FillsBackwards,
        Self::FillsWithRoom,
        Self::SaysWhenReady,
        Self::HandsOver,
        Self::SecondLink,
        Self::FurtherLinks,
        Self::Withheld,
        Self::OwedFromTheStart,
        Self::SilentLinks,
        Self::AsksBack,
        Self::SentAway,
        Self::LateReads,
        Self::Seam,
        Self::CopyWindow,
        Self::LinkWindow,
        Self::ParkedBytes,
        Self::Followers,
        Self::Pulls,
    ];
}
