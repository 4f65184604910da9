use crate::{
    BlockHeader, BlockId, ChainError, Deployment, FollowerConfig, Log, NetworkEvent, NetworkRules,
    NetworkView, RegistryEvent, Rpc, Segment, View, coordinator,
    event::created_topic,
    logs::{self, Blocks, Ours},
};
use mainstem_crypto::Hash;
use mainstem_model::RegistryChange;
use std::{collections::BTreeMap, sync::Arc};

/// Follows the chain's streams, rights and brokers, through reorgs, lags and lies of its endpoints.
///
/// The view shows the chain as of head minus [`FollowerConfig::confirmations`]. The newest blocks are read one by
/// one, each by its hash; older ones in ranges of logs. Nothing an endpoint says is used while any that answers in time
/// names another chain id, or while two contradict each other.
///
/// A reorg that is deeper than [`FollowerConfig::undo_blocks`] is answered by building a second view from the first block;
/// the old one stays until then, with [`Step::synced`] false.
#[derive(Debug)]
pub struct Follower {
    rpc: Rpc,
    config: FollowerConfig,
    chain_id: u64,
    ours: Ours,
    from: u64,
    /// The block at `from` that the view was built on.
    origin: Option<Hash>,
    view: View,
    /// The view that will take its place.
    rebuilt: Option<View>,
    /// Blocks of the next log query.
    span: u64,
    /// Changes made and not handed out yet. IMPORTANT: goes with the view, so that a step that fails or is dropped loses
    /// none.
    pending: Vec<RegistryChange>,
    /// The network's rules, once asked for: they stay, unless the coordinator is another.
    rules: Option<NetworkRules>,
    /// The brokers that are shown, and for which [`View::brokers_moves`]; `None` if that is of another view.
    network: Option<Arc<NetworkView>>,
    network_moves: Option<u64>,
}

/// What one look at the chain gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The block that the view shows.
    pub head: Option<BlockId>,
    /// What changed since the step before, in order.
    pub changes: Vec<RegistryChange>,
    /// The network of brokers, if it is not what it was when told last. Only told with `synced`. A coordinator that a
    /// reorg has taken off the chain is not told: its last word stands until there is one again.
    pub network: Option<Arc<NetworkView>>,
    /// Whether the view shows the newest block that it should. While it does not, no new right can be relied on.
    pub synced: bool,
    /// The chain's head is lower than the first block to follow, or than all that is known: look again after
    /// [`FollowerConfig::poll_ms`].
    pub waiting: bool,
}

/// How far the view is, inside one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Synced,
    More,
    /// There is nothing to read until the chain has grown.
    Waiting,
}

impl Follower {
    /// Follows the streams and brokers of a deployment; asks nothing yet.
    ///
    /// # Errors
    /// [`ChainError::Config`] for a bound that is zero.
    pub fn new(rpc: Rpc, config: FollowerConfig, deployment: &Deployment) -> Result<Self, ChainError> {
        if config.log_blocks_max == 0 || config.step_queries_max == 0 || config.step_changes_max == 0 {
            return Err(ChainError::Config("the follower's bounds must not be zero".to_owned()));
        }
        Ok(Self {
            view: View::new(config.undo_blocks),
            span: config.log_blocks_max,
            rpc,
            config,
            chain_id: deployment.chain_id,
            ours: Ours { registry: deployment.stream_registry, coordinator: deployment.network_coordinator },
            from: deployment.block,
            origin: None,
            rebuilt: None,
            pending: Vec::new(),
            rules: None,
            network: None,
            network_moves: None,
        })
    }

    /// Streams and rights as they are known.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// The network of brokers as of the last step that was [`Step::synced`]; `None` while there is no epoch.
    pub const fn network(&self) -> Option<&Arc<NetworkView>> {
        self.network.as_ref()
    }

    /// Looks at the chain once and takes in what is new, up to a bounded amount: step again at once while
    /// neither [`Step::synced`] nor [`Step::waiting`] is set and there was no error, else after [`FollowerConfig::poll_ms`].
    ///
    /// Cancel-safe: what was taken in is handed out by the next step.
    ///
    /// # Errors
    /// Any of [`ChainError`]; the view stays at a block that the chain had, and the next step goes on.
    pub async fn step(&mut self) -> Result<Step, ChainError> {
        let progress = self.advance().await;
        if let (Err(error), true) = (&progress, self.pending.is_empty()) {
            return Err(error.clone());
        }
        let synced = progress == Ok(Progress::Synced);
        Ok(Step {
            head: self.view.head(),
            network: if synced { self.show_network() } else { None },
            changes: std::mem::take(&mut self.pending),
            synced,
            waiting: progress == Ok(Progress::Waiting),
        })
    }

    async fn advance(&mut self) -> Result<Progress, ChainError> {
        // IMPORTANT: this has every endpoint name its chain, in every step.
        let height = self.rpc.agreed_height().await?;
        let found = self.rpc.chain_id().await?;
        if found != self.chain_id {
            return Err(ChainError::Config(format!(
                "the contracts are on chain {}, the endpoints serve chain {found}",
                self.chain_id
            )));
        }
        let Some(target) =
            height.checked_sub(self.config.confirmations).filter(|target| *target >= self.from)
        else {
            tracing::debug!(height, from = self.from, "the chain's head is below the first block to follow");
            return Ok(Progress::Waiting);
        };
        let Some(base) = self.common_block(target).await? else { return Ok(Progress::Waiting) };
        let progress = match base {
            Base::Ahead => Progress::Synced,
            Base::On(base) => self.climb(base, target).await?,
        };
        if progress == Progress::Synced
            && let Some(rebuilt) = self.rebuilt.take()
        {
            self.pending.extend(self.view.difference(&rebuilt));
            self.view = rebuilt;
            self.network_moves = None;
            tracing::info!(changes = self.pending.len(), "the view of streams was built anew");
        }
        if progress == Progress::Synced && self.rules.is_none() && self.view.brokers().epoch().is_some() {
            let answer = self.rpc.agreed_call(self.ours.coordinator, &coordinator::rules_call()).await?;
            self.rules = Some(coordinator::rules(&answer)?);
        }
        Ok(progress)
    }

    /// Shows the brokers as the view has them; gives them if they are others than before.
    fn show_network(&mut self) -> Option<Arc<NetworkView>> {
        if self.network_moves == Some(self.view.brokers_moves()) {
            return None;
        }
        self.network_moves = Some(self.view.brokers_moves());
        let rules = self.rules.as_ref();
        let shown =
            rules.and_then(|rules| self.view.brokers().network(rules.replicas, rules.rotation_epochs));
        if shown.as_ref() == self.network.as_deref() {
            return None;
        }
        self.network = shown.map(Arc::new);
        self.network.clone()
    }

    /// The view that moves.
    const fn working(&self) -> &View {
        match &self.rebuilt {
            Some(view) => view,
            None => &self.view,
        }
    }

    /// The newest block of ours that the chain still has. `None` if that cannot be told yet, as the chain's head is lower
    /// than all of them.
    async fn common_block(&mut self, target: u64) -> Result<Option<Base>, ChainError> {
        let head = self.working().head();
        let known: Vec<BlockId> = self.working().known().filter(|block| block.number <= target).collect();
        for block in &known {
            if self.agreed(block.number).await?.hash == block.hash {
                // Below our head, and nothing above it is contradicted: the endpoint lags.
                let ahead = known.first() == Some(block) && head.is_some_and(|head| head.number > target);
                return Ok(Some(if ahead { Base::Ahead } else { Base::On(Some(*block)) }));
            }
            tracing::info!(block = block.number, "the chain has another block here than before");
        }
        let origin = Some(self.agreed(self.from).await?.hash);
        if head.is_some() && known.is_empty() && self.origin == origin {
            return Ok(None);
        }
        self.origin = origin;
        if head.is_some() {
            self.start_over("the chain changed deeper than it can be undone");
        }
        Ok(Some(Base::On(None)))
    }

    fn start_over(&mut self, reason: &str) {
        tracing::warn!(reason, "building the view of streams anew");
        self.rebuilt = Some(View::new(self.config.undo_blocks));
        self.span = self.config.log_blocks_max;
    }

    /// Takes in blocks above `base`.
    async fn climb(&mut self, base: Option<BlockId>, target: u64) -> Result<Progress, ChainError> {
        let mut base = base;
        for _ in 0..self.config.step_queries_max {
            if self.pending.len() >= self.config.step_changes_max {
                return Ok(Progress::More);
            }
            let first = base.map_or(self.from, |base| base.number.saturating_add(1));
            if first > target {
                return Ok(Progress::Synced);
            }
            // IMPORTANT: what may be undone is read block by block, by hash. Only what lies deeper is read in ranges.
            let deep = target.saturating_sub(self.config.undo_blocks.max(1));
            let segment = if first <= deep {
                match self.range(base, first, deep).await? {
                    Some(segment) => segment,
                    None => continue,
                }
            } else {
                self.block(base, first).await?
            };
            base = Some(segment.last);
            if segment.network.iter().any(is_first) {
                self.rules = None;
            }
            let working = self.rebuilt.as_mut().unwrap_or(&mut self.view);
            let changes =
                working.apply(segment).map_err(|detached| ChainError::Moved(detached.to_string()))?;
            if self.rebuilt.is_none() {
                self.pending.extend(changes);
            }
        }
        Ok(if base.is_some_and(|base| base.number >= target) { Progress::Synced } else { Progress::More })
    }

    /// One block, by its hash.
    async fn block(&self, base: Option<BlockId>, number: u64) -> Result<Segment, ChainError> {
        let header = self.agreed(number).await?;
        if base.is_some_and(|base| base.hash != header.parent) {
            return Err(ChainError::Moved(format!("block {number} does not stand on the one before")));
        }
        let blocks = Blocks::One(header.hash, number);
        let logs = logs::fetch(&self.rpc, self.ours, self.working(), blocks).await?;
        let events =
            logs.iter().filter_map(|log| RegistryEvent::read(self.ours.registry, log, header.timestamp_s));
        Ok(Segment {
            first: number,
            parent: header.parent,
            last: BlockId { number, hash: header.hash },
            events: events.collect(),
            network: self.network_events(&logs),
        })
    }

    /// Many blocks, by a range of logs. `None` if that was too much: the range is then halved.
    async fn range(
        &mut self,
        base: Option<BlockId>,
        first: u64,
        deep: u64,
    ) -> Result<Option<Segment>, ChainError> {
        let last = deep.min(first.saturating_add(self.span - 1));
        let end = self.agreed(last).await?;
        let blocks = Blocks::Range(first, last);
        let logs = match logs::fetch(&self.rpc, self.ours, self.working(), blocks).await {
            Err(error) if error.is_too_many_results() && self.span > 1 => {
                self.span = (last - first).div_ceil(2).max(1);
                tracing::debug!(%error, blocks = self.span, "asking for logs of fewer blocks");
                return Ok(None);
            }
            logs => logs?,
        };
        let times = self.creation_times(&logs).await?;
        // The same blocks before and after: so the logs are of this chain.
        if self.agreed(last).await?.hash != end.hash {
            return Err(ChainError::Moved(format!("block {last} was replaced")));
        }
        if let Some(base) = base
            && self.agreed(base.number).await?.hash != base.hash
        {
            return Err(ChainError::Moved(format!("block {} was replaced", base.number)));
        }
        let events = logs.iter().filter_map(|log| {
            let at_s = times.get(&log.block_number).copied().unwrap_or(0);
            RegistryEvent::read(self.ours.registry, log, at_s)
        });
        let events = events.collect();
        let network = self.network_events(&logs);
        self.span = self.span.saturating_mul(2).min(self.config.log_blocks_max);
        let parent = base.map_or([0; 32], |base| base.hash);
        Ok(Some(Segment { first, parent, last: BlockId { number: last, hash: end.hash }, events, network }))
    }

    fn network_events(&self, logs: &[Log]) -> Vec<NetworkEvent> {
        logs.iter().filter_map(|log| NetworkEvent::read(self.ours.coordinator, log)).collect()
    }

    /// Times of the blocks in which streams were created, by number.
    async fn creation_times(&self, logs: &[Log]) -> Result<BTreeMap<u64, u64>, ChainError> {
        let created = created_topic();
        let mut times = BTreeMap::new();
        for log in logs.iter().filter(|log| log.topics.first() == Some(&created)) {
            if log.address != self.ours.registry || times.contains_key(&log.block_number) {
                continue;
            }
            let at_s = match log.block_timestamp_s {
                Some(at_s) => at_s,
                None => self.agreed(log.block_number).await?.timestamp_s,
            };
            times.insert(log.block_number, at_s);
        }
        Ok(times)
    }

    async fn agreed(&self, number: u64) -> Result<BlockHeader, ChainError> {
        let block = self.rpc.agreed_block(number).await?;
        block.ok_or_else(|| ChainError::Moved(format!("block {number} is not there any more")))
    }
}

/// Whether a coordinator has just been made, which may have other rules than the one before a reorg.
const fn is_first(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::EpochBegan(epoch) if epoch.number == 0)
}

/// What the next block stands on.
enum Base {
    /// This block of ours; `None` is nothing: begin with the first.
    On(Option<BlockId>),
    /// We know more than the chain's endpoint.
    Ahead,
}
