use crate::frame::FRAME_COST;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Frames that wait for one peer and lane, and those on their way into the socket; bounded in bytes.
#[derive(Debug)]
pub(crate) struct Queue {
    bytes_max: usize,
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Bytes>,
    /// What the waiting frames cost, and those that were taken and not released.
    cost: usize,
}

/// What a frame counts against a bound.
pub(crate) fn cost(frame: &Bytes) -> usize {
    frame.len().saturating_add(FRAME_COST)
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default(), filled: Notify::new() }
    }

    /// Whether the frame had room, and so is queued.
    pub(crate) fn push(&self, frame: Bytes) -> bool {
        let mut inner = self.inner.lock();
        let total = inner.cost.saturating_add(cost(&frame));
        if total > self.bytes_max {
            return false;
        }
        inner.cost = total;
        inner.frames.push_back(frame);
        drop(inner);
        self.filled.notify_one();
        true
    }

    /// Waits for frames and takes the oldest, at least one and not many more than `bytes`. They count until released.
    /// Cancel safe. For one caller at a time.
    pub(crate) async fn take(&self, bytes: usize) -> Vec<Bytes> {
        loop {
            let group = self.take_now(bytes);
            if !group.is_empty() {
                return group;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, bytes: usize) -> Vec<Bytes> {
        let (mut group, mut taken) = (Vec::new(), 0_usize);
        let mut inner = self.inner.lock();
        while taken < bytes {
            let Some(frame) = inner.frames.pop_front() else { break };
            taken = taken.saturating_add(cost(&frame));
            group.push(frame);
        }
        group
    }

    /// Gives the room of taken frames free.
    pub(crate) fn release(&self, cost: usize) {
        let mut inner = self.inner.lock();
        inner.cost = inner.cost.saturating_sub(cost);
    }

    /// What waits and is on its way, bytes as they are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_n_bytes_takes_n_and_refuses_one_more() {
        let queue = Queue::new(2 * (100 + FRAME_COST));
        assert!(queue.push(Bytes::from(vec![1; 100])));
        assert!(!queue.push(Bytes::from(vec![1; 101])), "one byte over");
        assert!(queue.push(Bytes::from(vec![1; 100])), "exactly full");
        assert!(!queue.push(Bytes::from_static(&[1])));
    }

    #[test]
    fn frames_count_until_they_are_in_the_socket() {
        let queue = Queue::new(100 + FRAME_COST);
        assert!(queue.push(Bytes::from(vec![1; 100])));
        let group = queue.take_now(1);
        assert_eq!(group.len(), 1);
        assert!(!queue.push(Bytes::from_static(&[1])), "taken, but not written");
        queue.release(group.iter().map(cost).sum());
        assert!(queue.push(Bytes::from_static(&[1])));
    }
}
