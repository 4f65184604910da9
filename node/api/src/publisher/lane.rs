use super::{PublisherConfig, clerk::Job};
use mainstem_model::{Ack, BatchId, NewEvent, SeriesWriter, limits};
use std::collections::VecDeque;

/// One partition of one identity: its series, what waits for it, what is on its way.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The series as the broker last confirmed it; `None` when a new one is to begin.
    pub(super) series: Option<SeriesWriter>,
    pub(super) waiting: VecDeque<Job>,
    pub(super) on_way: Option<OnWay>,
    /// Requests that must travel alone, because the group they were in was refused.
    pub(super) alone: usize,
    /// When it was last used, in the clerk's count.
    pub(super) used: u64,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct OnWay {
    pub(super) jobs: Vec<Job>,
    /// The series after it; `None` while it is being sealed.
    pub(super) sealed: Option<(SeriesWriter, BatchId)>,
    /// What it takes of the window, bytes.
    pub(super) bytes: usize,
    /// A new series was begun for it once already.
    pub(super) second_try: bool,
}

impl Lane {
    pub(super) fn is_idle(&self) -> bool {
        self.on_way.is_none() && self.waiting.is_empty()
    }

    /// Takes the requests of the next batch: those at the front that go together.
    pub(super) fn next_group(&mut self, config: &PublisherConfig) -> Vec<Job> {
        let mut group = Group::default();
        let mut jobs = Vec::new();
        while let Some(job) = self.waiting.front() {
            if !jobs.is_empty() && (self.alone > 0 || !group.takes(job, config)) {
                break;
            }
            group.add(job);
            jobs.extend(self.waiting.pop_front());
        }
        self.alone = self.alone.saturating_sub(1);
        jobs
    }
}

/// The bounds of a batch that is being filled.
#[derive(Debug, Default)]
struct Group {
    ack: Option<Ack>,
    events: usize,
    bytes: usize,
    times: Option<(i64, i64)>,
}

impl Group {
    fn takes(&self, job: &Job, config: &PublisherConfig) -> bool {
        let (least, greatest) = self.times_with(job);
        // One ack answers the batch, so all of it waits for the same one.
        self.ack == Some(job.ack)
            && self.events + job.events.len() <= limits::EVENTS_PER_BATCH_MAX
            && self.bytes + content_bytes(&job.events) <= config.batch_bytes_max
            && greatest.checked_sub(least).is_some_and(|span| span <= limits::BATCH_SPAN_MS_MAX)
    }

    fn add(&mut self, job: &Job) {
        self.times = Some(self.times_with(job));
        self.ack = Some(job.ack);
        self.events += job.events.len();
        self.bytes += content_bytes(&job.events);
    }

    fn times_with(&self, job: &Job) -> (i64, i64) {
        let start = self.times.unwrap_or((i64::MAX, i64::MIN));
        job.events.iter().fold(start, |(least, greatest), event| {
            (least.min(event.timestamp), greatest.max(event.timestamp))
        })
    }
}

pub(super) fn content_bytes(events: &[NewEvent]) -> usize {
    events.iter().map(|event| event.content.len()).sum()
}
