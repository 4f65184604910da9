use crate::{Config, Counters, InEvent, NetworkStatus, Node, Now, OutEvent};
use mainstem_model::Address;
use std::fmt;

/// What takes events in and gives events out: a broker's state machine, or one to compare it with.
pub trait Machine: fmt::Debug {
    /// Takes one thing that happened; what is to be done about it is added to `out`, in order.
    fn handle(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>);

    /// What it has done, and what it holds.
    fn counters(&self) -> Counters;

    /// Bytes that wait for transports, and for the journal.
    fn queued(&self) -> [usize; 2] {
        let counters = self.counters();
        [counters.delivery_queue_bytes, counters.write_queue_bytes].map(|bytes| bytes as usize)
    }

    /// The network as it sees it, if it tells.
    fn status(&self, now: Now) -> Option<NetworkStatus> {
        let _ = now;
        None
    }
}

/// Where a machine is to work.
#[derive(Debug)]
pub struct Seat<'a> {
    /// Number of the broker.
    pub number: usize,
    /// Every broker's address, by number.
    pub brokers: &'a [Address],
    /// Its bounds.
    pub config: &'a Config,
    /// Number of its store.
    pub log: u64,
    /// There is nothing in its store.
    pub is_blank: bool,
}

/// Makes a machine when a process starts.
pub type Make = fn(&Seat<'_>) -> Box<dyn Machine>;

impl Machine for Node {
    fn handle(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>) {
        Self::handle(self, event, now, out);
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }

    fn queued(&self) -> [usize; 2] {
        Self::queued(self)
    }

    fn status(&self, now: Now) -> Option<NetworkStatus> {
        Some(self.network_status(now))
    }
}

/// The broker itself.
pub fn node(seat: &Seat<'_>) -> Box<dyn Machine> {
    let me = seat.brokers.get(seat.number).copied().unwrap_or_default();
    let node = Node::new(seat.config.clone(), seat.log).named(me);
    Box::new(if seat.is_blank { node.over_empty_log() } else { node })
}
