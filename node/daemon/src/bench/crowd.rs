//! A crowd of publishers on a few sessions: each has one batch on its way at a time and offers a refused one again. How often
//! one of them offers is up to a rate, whatever the brokers say, or to how many batches may be on their way.

use super::{
    brokers::Brokers,
    signed::{self, Series, Shape},
    wire::{self, Down, Told, Up},
};
use anyhow::Context;
use mainstem_model::Ack;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::AddAssign,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinHandle};

/// How often a session looks whether offers are due.
const TURN: Duration = Duration::from_millis(4);
/// What a session that was held up may catch up on; what was due before is not offered.
const CATCH_UP: Duration = Duration::from_millis(50);
/// Bits of a request's number that count offers of the same batch; the rest is its publisher.
const TRY_BITS: u32 = 32;

/// How offers are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many batches of a session may be on their way; the next is offered when one is answered.
    Closed(usize),
    /// So many a second and session, whatever is answered.
    Open(f64),
}

/// What became of offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Batches that were due.
    pub(crate) due: u64,
    /// Batches that were sent, those that were sent again included.
    pub(crate) offered: u64,
    /// Due, but the broker did not read on.
    pub(crate) held_up: u64,
    /// Due, but every publisher waited for an answer.
    pub(crate) all_waited: u64,
    /// Batches acked for the first time.
    pub(crate) acked: u64,
    /// Refusals by their codes.
    pub(crate) refused: BTreeMap<String, u64>,
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.due += other.due;
        self.offered += other.offered;
        self.held_up += other.held_up;
        self.all_waited += other.all_waited;
        self.acked += other.acked;
        for (code, count) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
    }
}

#[derive(Debug)]
struct Publisher {
    series: Series,
    /// Which of its batches were acked.
    acked: Vec<bool>,
    /// The batch that is to be offered next, or is on its way.
    next: usize,
}

/// One session's publishers.
#[derive(Debug, Default)]
struct State {
    publishers: Vec<Publisher>,
    /// Those that wait for nothing.
    ready: VecDeque<usize>,
    tries: u32,
    tally: Tally,
}

#[derive(Debug)]
struct Session {
    state: Arc<Mutex<State>>,
    answered: Arc<Notify>,
    up: Option<Up>,
    reading: JoinHandle<anyhow::Result<()>>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Crowd {
    sessions: Vec<Session>,
    ack: Ack,
}

impl Crowd {
    /// So many sessions at each broker, with so many publishers each.
    pub(crate) async fn gather(
        brokers: &Brokers,
        shape: &Shape,
        ack: Ack,
        sessions: usize,
        publishers: usize,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for number in 0..brokers.count() * sessions {
            let (up, down) = wire::connect(brokers.websocket(number % brokers.count())?).await?;
            let publisher = |_| Publisher { series: Series::new(shape), acked: Vec::new(), next: 0 };
            let state = State {
                publishers: (0..publishers).map(publisher).collect(),
                ready: (0..publishers).collect(),
                ..State::default()
            };
            let (state, answered) = (Arc::new(Mutex::new(state)), Arc::new(Notify::new()));
            let reading = tokio::spawn(read(down, state.clone(), answered.clone()));
            all.push(Session { state, answered, up: Some(up), reading });
        }
        Ok(Self { sessions: all, ack })
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Signs about so many batches more than were acked, spread over all publishers.
    pub(crate) fn sign(&self, batches: usize) -> anyhow::Result<()> {
        let mut states: Vec<_> = self.sessions.iter().map(|session| lock(&session.state)).collect();
        let mut all: Vec<(&mut Series, usize)> = Vec::new();
        for state in &mut states {
            all.extend(state.publishers.iter_mut().map(|one| (&mut one.series, one.next)));
        }
        let each = batches.div_ceil(all.len().max(1));
        signed::ahead(&mut all, each)
    }

    /// Lets them publish for so long, and calls `watch` each second with what was counted since the beginning.
    ///
    /// # Errors
    /// A broker closes a session.
    pub(crate) async fn run(
        &mut self,
        pace: Pace,
        time: Duration,
        mut watch: impl FnMut(&Tally),
    ) -> anyhow::Result<Tally> {
        let before = self.tally();
        let until = Instant::now() + time;
        let mut offering = Vec::new();
        for session in &mut self.sessions {
            let up = session.up.take().context("a session was lost")?;
            let (state, answered) = (session.state.clone(), session.answered.clone());
            offering.push(tokio::spawn(offer(up, state, answered, self.ack, pace, until)));
        }
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.tick().await;
        while Instant::now() < until {
            second.tick().await;
            watch(&since(&self.tally(), &before));
        }
        for (session, offering) in self.sessions.iter_mut().zip(offering) {
            session.up = Some(offering.await??);
            if session.reading.is_finished() {
                (&mut session.reading).await??;
            }
        }
        Ok(since(&self.tally(), &before))
    }

    /// Waits until nobody waits for an answer; gives how many still do at `limit`.
    pub(crate) async fn rest(&self, limit: Duration) -> usize {
        let begun = Instant::now();
        loop {
            let waits = |session: &Session| {
                let state = lock(&session.state);
                state.publishers.len() - state.ready.len()
            };
            let waiting = self.sessions.iter().map(waits).sum();
            if waiting == 0 || begun.elapsed() > limit {
                return waiting;
            }
            tokio::time::sleep(TURN).await;
        }
    }

    /// Everything counted so far.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for session in &self.sessions {
            tally += &lock(&session.state).tally;
        }
        tally
    }

    /// Batches that were signed only when they were to be sent.
    pub(crate) fn late(&self) -> u64 {
        let late = |session: &Session| {
            lock(&session.state).publishers.iter().map(|one| one.series.late()).sum::<u64>()
        };
        self.sessions.iter().map(late).sum()
    }

    /// Ends the sessions; gives every series with which of its batches were acked.
    pub(crate) fn into_sent(self) -> Vec<(Series, Vec<bool>)> {
        let mut all = Vec::new();
        for session in self.sessions {
            session.reading.abort();
            let publishers = std::mem::take(&mut lock(&session.state).publishers);
            all.extend(publishers.into_iter().map(|one| (one.series, one.acked)));
        }
        all
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn since(now: &Tally, before: &Tally) -> Tally {
    let count = |(code, count): (&String, &u64)| {
        (code.clone(), count - before.refused.get(code).copied().unwrap_or_default())
    };
    Tally {
        due: now.due - before.due,
        offered: now.offered - before.offered,
        held_up: now.held_up - before.held_up,
        all_waited: now.all_waited - before.all_waited,
        acked: now.acked - before.acked,
        refused: now.refused.iter().map(count).filter(|(_, count)| *count > 0).collect(),
    }
}

/// Offers until the time is over.
async fn offer(
    mut up: Up,
    state: Arc<Mutex<State>>,
    answered: Arc<Notify>,
    ack: Ack,
    pace: Pace,
    until: Instant,
) -> anyhow::Result<Up> {
    let mut last = Instant::now();
    let mut owed = 0.0;
    while Instant::now() < until {
        let count = match pace {
            Pace::Closed(window) => {
                let mut state = lock(&state);
                let waiting = state.publishers.len() - state.ready.len();
                let room = window.saturating_sub(waiting);
                state.tally.due += room as u64;
                room
            }
            Pace::Open(rate) => {
                let now = Instant::now();
                owed += rate * now.duration_since(last).as_secs_f64();
                last = now;
                let mut state = lock(&state);
                state.tally.due += owed as u64;
                let most = (rate * CATCH_UP.as_secs_f64()).max(1.0);
                let count = (owed as u64).min(most as u64);
                state.tally.held_up += owed as u64 - count;
                owed = owed.fract();
                count as usize
            }
        };
        for left in (0..count).rev() {
            let next = next(&mut lock(&state))?;
            let Some((request, batch)) = next else {
                lock(&state).tally.all_waited += left as u64 + 1;
                break;
            };
            up.publish(request, ack, &batch).await?;
        }
        up.flush().await?;
        match pace {
            // Somebody may have been answered before this waits: then it does not wait long.
            Pace::Closed(_) => drop(tokio::time::timeout(TURN, answered.notified()).await),
            Pace::Open(_) => tokio::time::sleep(TURN).await,
        }
    }
    Ok(up)
}

/// The next publisher's batch with its request's number; `None` when all wait.
fn next(state: &mut State) -> anyhow::Result<Option<(u64, bytes::Bytes)>> {
    let Some(index) = state.ready.pop_front() else { return Ok(None) };
    state.tries = state.tries.wrapping_add(1);
    let publisher = &mut state.publishers[index];
    let batch = publisher.series.batch(publisher.next)?;
    state.tally.offered += 1;
    Ok(Some(((index as u64) << TRY_BITS | u64::from(state.tries), batch)))
}

/// Takes the answers of one session.
async fn read(mut down: Down, state: Arc<Mutex<State>>, answered: Arc<Notify>) -> anyhow::Result<()> {
    loop {
        let told = down.next().await?;
        let (request, code) = match told {
            Told::Ack { request } => (request, None),
            Told::Refused { request: 0, code } => anyhow::bail!("a session ended with {code}"),
            Told::Refused { request, code } => (request, Some(code)),
            Told::Batch(_) | Told::CaughtUp | Told::Ended { .. } | Told::Other => continue,
        };
        let mut state = lock(&state);
        let index = usize::try_from(request >> TRY_BITS)?;
        if let Some(code) = code {
            *state.tally.refused.entry(code).or_default() += 1;
        } else {
            state.tally.acked += 1;
            let publisher = state.publishers.get_mut(index).context("an ack for nobody")?;
            publisher.acked.resize(publisher.next, false);
            publisher.acked.push(true);
            publisher.next += 1;
        }
        state.ready.push_back(index);
        drop(state);
        answered.notify_one();
    }
}
