//! Keeps a client connected.

use crate::{
    ClientConfig, ClientError, ErrorKind, ReconnectConfig,
    chain::Chain,
    publishing::Publishing,
    session::{self, Running, Session},
    workers::Workers,
};
use mainstem_model::{Address, Verifier};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// What a client's parts share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: ClientConfig,
    pub(crate) publishing: Arc<Publishing>,
    pub(crate) provers: Workers,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) chain: Option<Chain>,
    link: watch::Sender<Link>,
    close: watch::Sender<bool>,
    node: Mutex<Address>,
}

/// How things stand with the connection.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Connecting,
    Up(Arc<Session>),
    Closed(ClientError),
}

/// A session that lived this long was a good one: waits begin anew after it.
const GOOD_LIFE: Duration = Duration::from_secs(1);

impl Core {
    pub(crate) fn new(
        config: ClientConfig,
        publishing: Arc<Publishing>,
        provers: Workers,
        chain: Option<Chain>,
    ) -> Self {
        Self {
            verifier: Arc::new(
                config
                    .schemes
                    .iter()
                    .fold(Verifier::new(config.network), |verifier, scheme| verifier.with(scheme.clone())),
            ),
            config,
            publishing,
            provers,
            chain,
            link: watch::Sender::new(Link::Connecting),
            close: watch::Sender::new(false),
            node: Mutex::new(Address::ZERO),
        }
    }

    pub(crate) fn node(&self) -> Address {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// The session, as soon as there is one.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, ClientError> {
        let mut link = self.link.subscribe();
        loop {
            match &*link.borrow_and_update() {
                Link::Up(session) if !session.is_gone() => return Ok(session.clone()),
                Link::Closed(error) => return Err(error.clone()),
                Link::Up(_) | Link::Connecting => {}
            }
            link.changed().await.map_err(|_| ClientError::closed())?;
        }
    }

    pub(crate) fn close(&self) {
        self.close.send_replace(true);
    }

    /// Waits until the connection is closed for good.
    pub(crate) async fn closed(&self) {
        let mut link = self.link.subscribe();
        let _ = link.wait_for(|link| matches!(link, Link::Closed(_))).await;
    }

    /// From now on everything goes over this session.
    pub(crate) fn begin(&self, running: &Running) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = running.hello.node;
        self.publishing.begin(&running.session);
        self.link.send_replace(Link::Up(running.session.clone()));
    }

    /// Keeps it connected until it is closed.
    pub(crate) async fn supervise(self: Arc<Self>, mut running: Running) {
        let mut close = self.close.subscribe();
        let mut backoff = Backoff::new(self.config.reconnect.clone());
        let why = loop {
            let began = Instant::now();
            let lost = tokio::select! {
                error = running.session.ended() => Some(error),
                () = asked(&mut close) => None,
            };
            let Some(lost) = lost else {
                running.close(self.config.transport.close_timeout).await;
                break ClientError::closed();
            };
            drop(running);
            if began.elapsed() >= GOOD_LIFE {
                backoff.reset();
            }
            self.link.send_replace(Link::Connecting);
            tracing::info!(error = %lost, "the connection was lost");
            let again = tokio::select! {
                again = self.reconnect(&mut backoff) => again,
                () = asked(&mut close) => Err(ClientError::closed()),
            };
            match again {
                Ok(again) => running = again,
                Err(error) => break error,
            }
            self.begin(&running);
            tracing::info!("connected again");
        };
        self.link.send_replace(Link::Closed(why.clone()));
        self.publishing.close(&why);
    }

    async fn reconnect(&self, backoff: &mut Backoff) -> Result<Running, ClientError> {
        let mut failures = 0;
        loop {
            tokio::time::sleep(backoff.next()).await;
            match session::open(&self.config, &self.publishing).await {
                Ok(running) => return Ok(running),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%error, failures, "could not connect");
                    if self.config.reconnect.attempts_max.is_some_and(|max| failures >= max) {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// Waits until the client is to be closed.
async fn asked(close: &mut watch::Receiver<bool>) {
    let _ = close.wait_for(|close| *close).await;
}

/// Trying again would change nothing.
const fn is_final(error: &ClientError) -> bool {
    matches!(
        error.kind,
        ErrorKind::WrongNetwork
            | ErrorKind::InvalidSignIn
            | ErrorKind::InvalidArgument
            | ErrorKind::MissingPermission
    )
}

/// Waits that double, each drawn between half and whole.
#[derive(Debug)]
struct Backoff {
    config: ReconnectConfig,
    wait: Duration,
    random: StdRng,
}

impl Backoff {
    fn new(config: ReconnectConfig) -> Self {
        let random = StdRng::seed_from_u64(config.seed.unwrap_or_else(rand::random));
        Self { wait: config.first, config, random }
    }

    const fn reset(&mut self) {
        self.wait = self.config.first;
    }

    fn next(&mut self) -> Duration {
        let wait = self.wait.min(self.config.max);
        self.wait = wait.saturating_mul(2);
        wait.mul_f64(self.random.random_range(0.5..=1.0))
    }
}

/// What the application holds: when the last one is dropped the connection ends.
#[derive(Debug)]
pub(crate) struct Hold(pub(crate) Arc<Core>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_bound_and_replay_by_seed() {
        let config = ReconnectConfig {
            first: Duration::from_millis(10),
            max: Duration::from_millis(100),
            seed: Some(1),
            ..ReconnectConfig::default()
        };
        let (mut one, mut two) = (Backoff::new(config.clone()), Backoff::new(config));
        for full in [10, 20, 40, 80, 100, 100] {
            let wait = one.next();
            assert_eq!(wait, two.next());
            let full = Duration::from_millis(full);
            assert!(full / 2 <= wait && wait <= full, "{wait:?} of {full:?}");
        }
        one.reset();
        assert!(one.next() <= Duration::from_millis(10));
    }
}
