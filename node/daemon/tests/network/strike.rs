//! What happens to brokers, drawn from a seed.

use crate::{brokers::Brokers, wall::Wall};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// What can happen to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL, and it is started again at once.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// Nothing goes between it and the other brokers for a while.
    Cut,
}

/// One misfortune.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) kind: Kind,
    pub(crate) broker: u16,
    pub(crate) length: Duration,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, broker, length } = self;
        match kind {
            Kind::Kill => write!(f, "broker {broker} killed"),
            Kind::Pause => write!(f, "broker {broker} paused for {length:?}"),
            Kind::Cut => write!(f, "broker {broker} cut off for {length:?}"),
        }
    }
}

/// An endless row of them; each kind comes as often as every other.
pub(crate) struct Strikes {
    random: u64,
    kinds: Vec<Kind>,
    left: Vec<Kind>,
    wall: Option<Wall>,
}

impl Strikes {
    /// Without the means to cut a broker off that is left out, and said.
    pub(crate) fn new(seed: u64) -> Self {
        let wall = Wall::new().inspect_err(|why| println!("nobody is cut off: {why}")).ok();
        let kinds = match wall {
            Some(_) => vec![Kind::Kill, Kind::Pause, Kind::Cut],
            None => vec![Kind::Kill, Kind::Pause],
        };
        Self { random: seed, kinds, left: Vec::new(), wall }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    pub(crate) fn next(&mut self, brokers: u16) -> Strike {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        let at = self.draw(self.left.len() as u64);
        let kind = self.left.swap_remove(at as usize);
        // Broker 1 has the chain in its process; without that nobody could start again.
        let first = if kind == Kind::Cut { 1 } else { 2 };
        let broker = first + self.draw(u64::from(brokers - first + 1)) as u16;
        Strike { kind, broker, length: Duration::from_millis(1_000 + self.draw(5_000)) }
    }

    /// Lets it happen, and be over; gives the moment at which it was.
    pub(crate) async fn perform(&self, strike: Strike, brokers: &mut Brokers) -> Instant {
        let Strike { kind, broker, length } = strike;
        match kind {
            Kind::Kill => {
                brokers.kill(broker);
                brokers.start_again(broker);
                let over = Instant::now();
                brokers.serves(broker).await;
                return over;
            }
            Kind::Pause => {
                brokers.pause(broker);
                tokio::time::sleep(length).await;
                brokers.resume(broker);
            }
            Kind::Cut => {
                let wall = self.wall.as_ref().unwrap();
                wall.cut(brokers.peer_port(broker).await);
                tokio::time::sleep(length).await;
                wall.open();
            }
        }
        Instant::now()
    }
}
