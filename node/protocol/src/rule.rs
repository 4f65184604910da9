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
    /// What others took in is not of a time to come.
    Future,
    /// What is published is of this time.
    ClockWindow,
    /// Who reads has the right.
    RightsOfReaders,

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
    /// A proof that is new is told on at once.
    ProofsToldOn,
    /// Where heads differ at one place, what stands there is got.
    DifferingHeads,
    /// What shows while something else of the series is got is got after it.
    ConflictsAsked,

    // ------------------------------------------------ acks
    /// An ack of n brokers waits for n.
    AckCount,
    /// A broker counts for the level that it says.
    AckLevel,
    /// A broker counts if it is to keep the batch.
    AckKeepers,
    /// *Durable* is said when fsync has returned.
    AckFsync,
    /// A publisher hears why most owners will not have its batch: what came before it is gone, say.
    RefusalsTold,
    /// A publisher is told when too few brokers have said in time that they have a batch.
    CopiesWait,
    /// A broker that is not to keep a batch keeps nothing of it.
    PassesOn,
    /// A copy is refused where it is not assigned.
    CopiesAssigned,
    /// A copy that is on its way is not.
    CopiesOnTheirWay,
    /// A copy that is not answered for is sent again.
    CopiesAgain,

    // ------------------------------------------------ repair
    /// Brokers tell each other how far series have come, as they change.
    TellsChanges,
    /// What waited for those before it is placed behind them.
    ParkedPlaced,
    /// Brokers compare what they keep.
    Comparing,
    /// Owners are told of what is theirs to keep and lies where it is not.
    Strays,
    /// A comparison is over when what it has shown is here.
    ComparedIsGot,
    /// Who answers a pull with nothing is passed over.
    PullElsewhere,
    /// Who fills up history is not ready before it is stored.
    FilledIsStored,
    /// Only one that has all is believed of where a series begins.
    BegunByReady,
    /// Who keeps a partition gets what it lacks from where it stands, and not by age.
    KeepersBySequence,
    /// So does who follows it, of what has come since.
    GoesOnFromOwn,
    /// What was lacking where a reader was is looked for elsewhere.
    SeamAgain,
    /// That all of a series is history is believed of one that has said to have it.
    AgedByClaim,
    /// What was lacking where a reader was is looked for at those too that do not have all.
    SeamAnywhere,
    /// A reader that comes home goes through what came lately: where it was that may have been lacking.
    SeamLately,
    /// What was here before a partition was followed is compared with what several have that keep it.
    ResumesByMany,
    /// Of series that are not known here it is asked what came since nothing lacked for certain.
    ResumesSound,
    /// What has come since a broker had batches of a partition that is new to it is news.
    GivenGoesOn,
    /// A reader that has one branch of a series is not told the other.
    SeamSplit,
    /// What came shortly before a partition was followed is asked for, too.
    ReachesBack,
    /// A broker that sees an epoch late is not ready for it.
    ReadyInEpoch,
    /// What both are to keep is listed anew when an epoch has begun meanwhile.
    ListsOfEpoch,
    /// Who kept a shard before and has another log since has nothing of it.
    FormerLogs,
    /// Where a series begins of late is asked of two.
    BegunByTwo,
    /// A series begins with the first part of what another has before it.
    BegunEarlier,
    /// A pull that is not answered is given up.
    LatePulls,
    /// A pull brings what was asked for.
    PulledWasAsked,
    /// What lies before the beginning of a series is filled up.
    FillsUp,
    /// What a broker fills up is history, and no news.
    PastIsNoNews,
    /// What others have of a partition that is new here is history, and no news.
    NewIsHistory,
    /// It is filled up from its end to its beginning, so that what is broken off leaves no hole behind.
    FillsBackwards,
    /// What fills up is asked for again when the journal has room.
    FillsWithRoom,

    // ------------------------------------------------ who keeps a shard
    /// A broker says that it is ready when it has all that it is to keep.
    SaysWhenReady,
    /// The owners before go on until those after are ready.
    HandsOver,
    /// The owners before those before go on too, until the last are ready.
    OlderOwners,
    /// Readers are served what a broker has all of.
    ServesWhenReady,
    /// A broker that finds nobody to compare with serves what it has after a while.
    ReadyAfter,

    // ------------------------------------------------ links
    /// Other links tell heads, so that what the first leaves out is seen.
    SecondLink,
    /// They are as many as hold against two that hide everything together.
    FurtherLinks,
    /// A link that leaves something out is left.
    Withheld,
    /// What is new when a link begins is for it to tell.
    OwedFromTheStart,
    /// A link that had no room for a batch is told it when it has.
    LinkGoesOn,
    /// A link that says nothing is left.
    SilentLinks,
    /// A partition that nobody reads is followed no longer.
    IdleLinks,
    /// Who sends on and on is left.
    Redirects,
    /// No ring of relays comes about.
    Rings,
    /// Who does not keep a partition any more, nor follows it, is left.
    LeavesFormer,
    /// A link asks for what has changed since nothing was missed for certain.
    AsksBack,
    /// A batch that was not asked for is not taken in.
    AskedFeeds,
    /// Nor is what others say of series that are of no concern here.
    AskedHeads,

    // ------------------------------------------------ readers of the past
    /// A reader of what came before goes to a broker that has it.
    SentAway,
    /// A cursor is read where it was given.
    ForeignCursors,
    /// A read elsewhere that is not answered is given up.
    LateReads,
    /// Where two logs meet, what was had is not told again.
    Seam,
    /// How old something stored is, is told in spite of how the clock was set.
    ClockSet,

    // ------------------------------------------------ bounds
    /// What is on its way to one that keeps copies has a bound.
    CopyWindow,
    /// What is on its way over a link has a bound.
    LinkWindow,
    /// What waits for those before it has a bound.
    ParkedBytes,
    /// What is on its way to readers has a bound.
    DeliveryQueue,
    /// What is on its way to the journal has a bound.
    WriteQueue,
    /// What waits for those before it does not wait for ever.
    ParkedWait,
    /// Links that others have here have a bound.
    Followers,
    /// So has an answer.
    AnswerBytes,
    /// What the store does at once for another broker has a bound.
    Answers,
    /// Those that are told all batches of a partition have a bound.
    RelayDegree,
    /// Pulls have a bound.
    Pulls,
    /// Who does wrong again and again is dropped.
    Drops,
}

#[cfg(feature = "test-utils")]
impl Rule {
    /// Every rule.
    pub const ALL: [Self; 94] = [
        Self::RightsOfClients,
        Self::RightsOfStores,
        Self::RightsOfFeeds,
        Self::RightsOfRepairs,
        Self::RightsOfPages,
        Self::FormerRights,
        Self::Future,
        Self::ClockWindow,
        Self::RightsOfReaders,
        Self::Gaps,
        Self::Duplicates,
        Self::Forks,
        Self::Frozen,
        Self::Proofs,
        Self::ProofsAnswered,
        Self::ProofsToldOn,
        Self::DifferingHeads,
        Self::ConflictsAsked,
        Self::AckCount,
        Self::AckLevel,
        Self::AckKeepers,
        Self::AckFsync,
        Self::RefusalsTold,
        Self::CopiesWait,
        Self::PassesOn,
        Self::CopiesAssigned,
        Self::CopiesOnTheirWay,
        Self::CopiesAgain,
        Self::TellsChanges,
        Self::ParkedPlaced,
        Self::Comparing,
        Self::Strays,
        Self::ComparedIsGot,
        Self::PullElsewhere,
        Self::FilledIsStored,
        Self::BegunByReady,
        Self::KeepersBySequence,
        Self::GoesOnFromOwn,
        Self::SeamAgain,
        Self::AgedByClaim,
        Self::SeamAnywhere,
        Self::SeamLately,
        Self::ResumesByMany,
        Self::ResumesSound,
        Self::GivenGoesOn,
        Self::ReachesBack,
        Self::SeamSplit,
        Self::ReadyInEpoch,
        Self::ListsOfEpoch,
        Self::FormerLogs,
        Self::BegunByTwo,
        Self::BegunEarlier,
        Self::LatePulls,
        Self::PulledWasAsked,
        Self::FillsUp,
        Self::PastIsNoNews,
        Self::NewIsHistory,
        Self::FillsBackwards,
        Self::FillsWithRoom,
        Self::SaysWhenReady,
        Self::HandsOver,
        Self::OlderOwners,
        Self::ServesWhenReady,
        Self::ReadyAfter,
        Self::SecondLink,
        Self::FurtherLinks,
        Self::Withheld,
        Self::OwedFromTheStart,
        Self::LinkGoesOn,
        Self::SilentLinks,
        Self::IdleLinks,
        Self::Redirects,
        Self::Rings,
        Self::LeavesFormer,
        Self::AsksBack,
        Self::AskedHeads,
        Self::AskedFeeds,
        Self::SentAway,
        Self::ForeignCursors,
        Self::LateReads,
        Self::Seam,
        Self::ClockSet,
        Self::CopyWindow,
        Self::LinkWindow,
        Self::ParkedBytes,
        Self::DeliveryQueue,
        Self::WriteQueue,
        Self::ParkedWait,
        Self::Followers,
        Self::AnswerBytes,
        Self::Answers,
        Self::RelayDegree,
        Self::Pulls,
        Self::Drops,
    ];
}
