/// What a broker, its disk or its transport can be made to do wrong, so that a test can see that it does not pass unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A killed broker's disk has forgotten its last batch.
    Forget,
    /// The disk says that all is synced at once and syncs nothing.
    SyncLate,
    /// One delivery in fifty does not come.
    DropDelivery,
    /// One delivery in fifty comes twice.
    DoubleDelivery,
    /// One delivery in fifty comes behind the one after it.
    SwapDeliveries,
    /// Subscribers are given a batch of one who may not publish.
    DeliverForged,
    /// The broker is not told what transports have taken.
    LoseFlushed,
    /// One broker is not told that a session between brokers has ended.
    LosePeerDown,
}

impl Sabotage {
    /// All that one broker alone can suffer.
    pub const ALONE: [Self; 7] = [
        Self::Forget,
        Self::SyncLate,
        Self::DropDelivery,
        Self::DoubleDelivery,
        Self::SwapDeliveries,
        Self::DeliverForged,
        Self::LoseFlushed,
    ];
}
