use super::Lane;
use std::sync::{Arc, Weak, atomic::Ordering};
use tokio::sync::Notify;

/// Sends a batch that has filled for long enough; ends with its lane.
pub(super) async fn linger(lane: Weak<Lane>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        loop {
            let deadline = match lane.upgrade() {
                Some(lane) if lane.released.load(Ordering::Acquire) => return,
                Some(lane) => lane.linger_deadline(),
                None => return,
            };
            let Some(deadline) = deadline else { break };
            tokio::time::sleep_until(deadline.into()).await;
            if let Some(lane) = lane.upgrade() {
                lane.linger_over();
            }
        }
    }
}
