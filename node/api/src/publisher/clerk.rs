use super::{
    Published, PublisherConfig, Room,
    lane::{Lane, OnWay, content_bytes},
    unknown_outcome,
};
use crate::{NodeHandle, Workers};
use mainstem_model::{
    Ack, BatchError, Code, NewEvent, Refusal, SeriesId, SeriesWriter, Signer, StreamPartition, VerifiedBatch,
    Verifier,
};
use mainstem_protocol::{InEvent, ServerMessage, SessionId};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// Events of one request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) at: StreamPartition,
    pub(super) events: Vec<NewEvent>,
    pub(super) ack: Ack,
    pub(super) reply: oneshot::Sender<Result<Published, Refusal>>,
    pub(super) room: Room,
}

impl Job {
    fn answer(self, result: Result<Published, Refusal>) {
        drop(self.room);
        // Who asked may be gone.
        let _ = self.reply.send(result);
    }
}

/// Publishes for one identity through one session.
#[derive(Debug)]
pub(super) struct Clerk {
    handle: NodeHandle,
    workers: Workers,
    signer: Signer,
    config: PublisherConfig,
    lanes: BTreeMap<StreamPartition, Lane>,
    /// Lanes that have something waiting and nothing on its way, in the order in which they came to be so.
    ready: VecDeque<StreamPartition>,
    sealing: JoinSet<Sealed>,
    /// Which lane's batch was sent with which request.
    sent: BTreeMap<u64, StreamPartition>,
    batches: usize,
    window: usize,
    count: u64,
}

/// What a worker made of a group.
#[derive(Debug)]
struct Sealed {
    at: StreamPartition,
    /// `None`: the worker failed.
    result: Option<Result<(SeriesWriter, Arc<VerifiedBatch>), BatchError>>,
}

impl Clerk {
    pub(super) fn new(handle: NodeHandle, workers: Workers, signer: Signer, config: PublisherConfig) -> Self {
        Self {
            handle,
            workers,
            signer,
            config,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            sealing: JoinSet::new(),
            sent: BTreeMap::new(),
            batches: 0,
            window: 0,
            count: 0,
        }
    }

    /// Works until nobody can send jobs any more and all are answered, or the node is gone.
    pub(super) async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let identity = self.signer.origin().address();
        let (session, mut messages) = match self.handle.open(identity).await {
            Ok(opened) => opened,
            Err(refusal) => return self.give_up(&mut jobs, &refusal),
        };
        let mut open = true;
        while open || self.batches > 0 || !self.ready.is_empty() {
            tokio::select! {
                job = jobs.recv(), if open => match job {
                    Some(job) => {
                        self.take(job);
                        // What came meanwhile goes into the same batch.
                        while let Ok(job) = jobs.try_recv() {
                            self.take(job);
                        }
                    }
                    None => open = false,
                },
                Some(sealed) = self.sealing.join_next() => match sealed {
                    Ok(sealed) => if !self.send(session, sealed).await {
                        return self.give_up(&mut jobs, &unknown_outcome());
                    },
                    Err(_) => return self.give_up(&mut jobs, &unknown_outcome()),
                },
                message = messages.recv() => match message {
                    None => return self.give_up(&mut jobs, &unknown_outcome()),
                    // A session that is refused as a whole will answer nothing.
                    Some(ServerMessage::Refused { request: 0, refusal }) => {
                        return self.give_up(&mut jobs, &refusal);
                    }
                    Some(message) => self.hear(message),
                },
            }
            self.start_ready();
        }
        // The node may be gone already.
        let _ = self.handle.event(InEvent::SessionClosed { session }).await;
    }

    /// Answers everybody with the same refusal; whoever comes next finds a new clerk.
    fn give_up(self, jobs: &mut mpsc::UnboundedReceiver<Job>, refusal: &Refusal) {
        jobs.close();
        for lane in self.lanes.into_values() {
            let on_way = lane.on_way.into_iter().flat_map(|on_way| on_way.jobs);
            on_way.chain(lane.waiting).for_each(|job| job.answer(Err(refusal.clone())));
        }
        while let Ok(job) = jobs.try_recv() {
            job.answer(Err(refusal.clone()));
        }
    }

    fn take(&mut self, job: Job) {
        let at = job.at;
        if !self.lanes.contains_key(&at) && self.lanes.len() >= self.config.series_max && !self.close_oldest()
        {
            let message = "every series of this identity has events on their way; try again in a moment";
            return job.answer(Err(Refusal::new(Code::Overloaded, message)));
        }
        self.count += 1;
        let lane = self.lanes.entry(at).or_default();
        lane.used = self.count;
        if lane.is_idle() {
            self.ready.push_back(at);
        }
        lane.waiting.push_back(job);
    }

    /// Closes the series that was idle for longest.
    fn close_oldest(&mut self) -> bool {
        let idle = self.lanes.iter().filter(|(_, lane)| lane.is_idle());
        let Some(oldest) = idle.min_by_key(|(_, lane)| lane.used).map(|(at, _)| *at) else { return false };
        self.lanes.remove(&oldest).is_some()
    }

    /// Lets workers seal what may go now.
    fn start_ready(&mut self) {
        while self.batches < self.config.batches_max {
            let Some(at) = self.ready.front().copied() else { return };
            let Some(lane) = self.lanes.get_mut(&at) else { return };
            let next = lane.waiting.front().map_or(0, |job| content_bytes(&job.events));
            if self.window > 0 && self.window + next > self.config.window_bytes {
                return;
            }
            self.ready.pop_front();
            let jobs = lane.next_group(&self.config);
            self.seal(at, jobs, false);
        }
    }

    fn seal(&mut self, at: StreamPartition, jobs: Vec<Job>, second_try: bool) {
        let Some(lane) = self.lanes.get_mut(&at) else { return };
        // The time of a series does not go back; events that are told late begin another one.
        let times = jobs.iter().flat_map(|job| job.events.iter().map(|event| event.timestamp));
        let least = times.min().unwrap_or(i64::MAX);
        let series = lane.series.as_ref().filter(|series| series.head().timestamp <= least);
        let writer = series.cloned().unwrap_or_else(|| {
            let series = SeriesId(rand::random());
            SeriesWriter::new(*self.handle.network(), at, self.signer.clone(), series)
        });
        // Cheap: contents are shared.
        let events: Vec<NewEvent> = jobs.iter().flat_map(|job| job.events.iter().cloned()).collect();
        let bytes = content_bytes(&events);
        lane.on_way = Some(OnWay { jobs, sealed: None, bytes, second_try });
        self.batches += 1;
        self.window += bytes;
        let (workers, verifier) = (self.workers.clone(), self.handle.verifier().clone());
        self.sealing.spawn(async move {
            Sealed { at, result: workers.run(move || seal(writer, &events, &verifier)).await }
        });
    }

    /// Sends a sealed batch to the broker. Says `false` when the broker is gone.
    async fn send(&mut self, session: SessionId, sealed: Sealed) -> bool {
        let Sealed { at, result } = sealed;
        let failed = match result {
            Some(Ok((writer, batch))) => {
                let Some(on_way) = self.lanes.get_mut(&at).and_then(|lane| lane.on_way.as_mut()) else {
                    return true;
                };
                on_way.sealed = Some((writer, batch.id()));
                let ack = on_way.jobs.first().map_or_else(Ack::default, |job| job.ack);
                self.count += 1;
                let request = self.count;
                self.sent.insert(request, at);
                return self.handle.event(InEvent::Publish { session, request, ack, batch }).await.is_ok();
            }
            Some(Err(error)) => error.into(),
            None => Refusal::new(Code::Overloaded, "the batch could not be signed; try again"),
        };
        self.finish(at, Err(failed));
        true
    }

    fn hear(&mut self, message: ServerMessage) {
        let (request, result) = match message {
            ServerMessage::Ack { request, ack, duplicate, .. } => (request, Ok((ack, duplicate))),
            ServerMessage::Refused { request, refusal } => (request, Err(refusal)),
            // A clerk neither signs in nor reads.
            ServerMessage::SignedIn { .. }
            | ServerMessage::Subscribed { .. }
            | ServerMessage::Deliver { .. }
            | ServerMessage::CaughtUp { .. }
            | ServerMessage::Ended { .. }
            | ServerMessage::Unsubscribed { .. } => return,
        };
        if let Some(at) = self.sent.remove(&request) {
            self.finish(at, result);
        }
    }

    /// A batch came to its end, well or not.
    fn finish(&mut self, at: StreamPartition, result: Result<(Ack, bool), Refusal>) {
        let Some(lane) = self.lanes.get_mut(&at) else { return };
        let Some(OnWay { jobs, sealed, bytes, second_try }) = lane.on_way.take() else { return };
        self.batches -= 1;
        self.window -= bytes;
        match (result, sealed) {
            (Ok((ack, duplicate)), Some((writer, batch))) => {
                lane.series = Some(writer);
                let mut first_index = 0;
                for job in jobs {
                    // At most 1,024 events in a batch.
                    let count = job.events.len() as u16;
                    job.answer(Ok(Published { batch, first_index, ack, duplicate }));
                    first_index += count;
                }
            }
            (Ok(_), None) => jobs.into_iter().for_each(|job| job.answer(Err(unknown_outcome()))),
            (Err(refusal), _) => {
                if !leaves_series_as_it_was(refusal.code) {
                    lane.series = None;
                }
                let of_series =
                    matches!(refusal.code, Code::SeriesGap | Code::SeriesFrozen | Code::Equivocation);
                if of_series && !second_try {
                    return self.seal(at, jobs, true);
                }
                if refusal.code == Code::InvalidTimestamp && jobs.len() > 1 {
                    // One of them has a wrong timestamp; the others shall not pay for it.
                    lane.alone = jobs.len();
                    for job in jobs.into_iter().rev() {
                        lane.waiting.push_front(job);
                    }
                } else {
                    jobs.into_iter().for_each(|job| job.answer(Err(refusal.clone())));
                }
            }
        }
        if !lane.waiting.is_empty() {
            self.ready.push_back(at);
        }
    }
}

/// Whether a refusal with this code says for certain that the batch was not taken and its place in the series is free.
const fn leaves_series_as_it_was(code: Code) -> bool {
    matches!(
        code,
        Code::MissingPermission
            | Code::InvalidTimestamp
            | Code::InvalidPartition
            | Code::StreamNotFound
            | Code::Overloaded
            | Code::LimitReached
            // More copies than the partition has replicas.
            | Code::InvalidArgument
    )
}

fn seal(
    mut writer: SeriesWriter,
    events: &[NewEvent],
    verifier: &Verifier,
) -> Result<(SeriesWriter, Arc<VerifiedBatch>), BatchError> {
    let batch = writer.seal(events)?;
    // The broker takes proven batches only, our own are no exception.
    Ok((writer, Arc::new(verifier.verify(batch)?)))
}
