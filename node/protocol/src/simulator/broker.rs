use super::{disk::Disk, hostile::Hostile, machine::Machine};
use crate::InEvent;
use mainstem_model::{Address, Assignment};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// One broker: the state machine under test and what stands around it.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: Address,
    /// Absent while its process does not run.
    pub(crate) node: Option<Box<dyn Machine>>,
    pub(crate) disk: Disk,
    /// Number of its process: what was meant for an earlier one is not for this one.
    pub(crate) life: u32,
    /// What waits for a paused process.
    pub(crate) backlog: Option<VecDeque<InEvent>>,
    /// By how much its clock is wrong, milliseconds.
    pub(crate) clock_offset: i64,
    /// How many steps of the registry it has heard of.
    pub(crate) heard: usize,
    pub(crate) assignment: Option<Arc<Assignment>>,
    pub(crate) hostile: Option<Box<dyn Hostile>>,
    /// How often it had found others wanting when all had begun.
    pub(crate) wrongs: u64,
    /// Since when batches wait there for those before them.
    pub(crate) parks_since: Option<i64>,
    /// With whom its process was told that it has sessions.
    pub(crate) peers: BTreeSet<Address>,
}

impl Broker {
    /// The address of broker `number`.
    pub(crate) fn address(number: usize) -> Address {
        let mut address = [0x0B; 20];
        // Spread, as addresses are: by it shards are assigned.
        address[..8].copy_from_slice(&super::random::mix(number as u64 + 1).to_be_bytes());
        Address(address)
    }

    pub(crate) fn new(number: usize, hostile: Option<Box<dyn Hostile>>) -> Self {
        Self {
            address: Self::address(number),
            node: None,
            disk: Disk::new(number as u64 + 1),
            life: 0,
            backlog: None,
            clock_offset: 0,
            heard: 0,
            assignment: None,
            hostile,
            wrongs: 0,
            parks_since: None,
            peers: BTreeSet::new(),
        }
    }

    pub(crate) const fn is_honest(&self) -> bool {
        self.hostile.is_none()
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn start(&mut self, machine: Box<dyn Machine>) {
        self.life += 1;
        self.node = Some(machine);
    }

    /// Its process ends.
    pub(crate) fn stop(&mut self) {
        self.life += 1;
        self.node = None;
        self.backlog = None;
        self.parks_since = None;
        self.peers.clear();
    }
}
