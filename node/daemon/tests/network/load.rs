//! Publishers and subscribers that go on whatever happens.

use crate::{brokers::DEADLINE, process::now_ms, tally::Got};
use mainstem_client::{Client, ErrorKind, PublishReceipt, Publisher, Start, SubscribeOptions};
use mainstem_model::{Ack, AckLevel, NewEvent, StreamPartition};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Events that a publisher makes at a time, and how often it does.
const BURST: usize = 4;
const BURST_EVERY: Duration = Duration::from_millis(60);

/// Which event: the content of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) publisher: u16,
    pub(crate) number: u64,
}

impl Mark {
    pub(crate) fn event(self) -> NewEvent {
        let mut content = self.publisher.to_be_bytes().to_vec();
        content.extend(self.number.to_be_bytes());
        NewEvent::binary(now_ms(), content.into())
    }

    /// Another event has none.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let (publisher, number) = content.split_first_chunk()?;
        Some(Self {
            publisher: u16::from_be_bytes(*publisher),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// What publishers know.
#[derive(Default)]
pub(crate) struct Sent {
    /// With the time, milliseconds, that is in the event.
    pub(crate) acked: BTreeMap<Mark, i64>,
    pub(crate) slowest_ack: Duration,
    /// Why publishers could not go on with their series.
    pub(crate) refused: Vec<String>,
}

/// The publishers of a test, one at each broker; under way until `stop`.
pub(crate) struct Publishers {
    sent: Arc<Mutex<Sent>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Publishers {
    /// With these clients, each named by its broker's number.
    pub(crate) fn start(clients: impl IntoIterator<Item = (u16, Client)>, at: StreamPartition) -> Self {
        let (sent, stop) = (Arc::new(Mutex::default()), watch::Sender::new(false));
        let publish =
            |(number, client)| tokio::spawn(publish(client, number, at, sent.clone(), stop.subscribe()));
        let tasks = clients.into_iter().map(publish).collect();
        Self { sent, stop, tasks }
    }

    pub(crate) fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap()
    }

    /// Makes no more events, and waits until all that were made are acked or refused.
    pub(crate) async fn stop(self) -> Sent {
        self.stop.send_replace(true);
        for task in self.tasks {
            let ended = tokio::time::timeout(DEADLINE, task).await;
            ended.expect("events are neither acked nor refused").unwrap();
        }
        std::mem::take(&mut *self.sent.lock().unwrap())
    }
}

async fn publish(
    client: Client,
    publisher: u16,
    at: StreamPartition,
    sent: Arc<Mutex<Sent>>,
    stop: watch::Receiver<bool>,
) {
    let (receipts, mut coming) = mpsc::unbounded_channel();
    let (noted, enough) = (sent.clone(), Ack::new(AckLevel::Durable, 2));
    let acks = tokio::spawn(async move {
        while let Some((mark, made_ms, made, receipt)) = coming.recv().await {
            let (receipt, made): (PublishReceipt, Instant) = (receipt, made);
            let outcome = receipt.await;
            let mut noted = noted.lock().unwrap();
            match outcome {
                Ok(published) => {
                    let ack = published.ack;
                    assert!(
                        ack.level >= enough.level && ack.copies >= enough.copies,
                        "{ack} is less than {enough}"
                    );
                    noted.slowest_ack = noted.slowest_ack.max(made.elapsed());
                    noted.acked.insert(mark, made_ms);
                }
                Err(error) => noted.refused.push(format!("{mark:?}: {error}")),
            }
        }
    });
    let mut handle: Option<Publisher> = None;
    let mut number = 0;
    let mut every = tokio::time::interval(BURST_EVERY);
    while !*stop.borrow() {
        every.tick().await;
        for _ in 0..BURST {
            let mark = Mark { publisher, number };
            let lane = handle.get_or_insert_with(|| client.publisher(at).unwrap());
            let event = mark.event();
            let made_ms = event.timestamp;
            match lane.publish(event).await {
                Ok(receipt) => receipts.send((mark, made_ms, Instant::now(), receipt)).unwrap(),
                Err(error) => {
                    sent.lock().unwrap().refused.push(format!("{mark:?} at once: {error}"));
                    handle = None;
                }
            }
            number += 1;
        }
    }
    drop(receipts);
    acks.await.unwrap();
}

/// A subscriber that goes on until it is dropped.
pub(crate) struct Subscriber {
    got: Arc<Mutex<Got>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Stands when this returns.
    pub(crate) async fn start(client: Client, at: StreamPartition) -> Self {
        let mut events = client.subscribe(SubscribeOptions::new(at)).await.unwrap();
        let got = Arc::new(Mutex::new(Got::default()));
        let kept = got.clone();
        let task = tokio::spawn(async move {
            loop {
                let cursors = match events.next().await {
                    Some(Ok(event)) => {
                        if let Some(mark) = Mark::read(event.content()) {
                            kept.lock().unwrap().take(mark, (event.series(), event.sequence()));
                        }
                        continue;
                    }
                    Some(Err(error)) if error.kind == ErrorKind::ClientClosed => return,
                    Some(Err(error)) => {
                        kept.lock().unwrap().told.push(error.to_string());
                        continue;
                    }
                    None => events.cursors(),
                };
                // As an application does that wants to go on.
                kept.lock().unwrap().told.push("ended; begun again at its cursor".into());
                let again = SubscribeOptions::new(at).start(Start::Cursors(cursors));
                let Ok(begun) = client.subscribe(again).await else { return };
                events = begun;
            }
        });
        Self { got, task }
    }

    pub(crate) fn got(&self) -> MutexGuard<'_, Got> {
        self.got.lock().unwrap()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}
