use super::{Asked, Ledger};
use crate::frame::ServerFrame;
use mainstem_model::{Code, Refusal};
use mainstem_protocol::ServerMessage;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a session is to be told, from the broker and from the connection itself.
#[derive(Debug)]
pub(crate) struct Outbox {
    broker: mpsc::UnboundedReceiver<ServerMessage>,
    edge: mpsc::Receiver<ServerFrame>,
    ledger: Arc<Ledger>,
    taken: Vec<ServerMessage>,
}

/// A frame on its way out, with what the request it answers had asked.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frame: ServerFrame,
    pub(crate) answers: Option<Asked>,
    /// Nothing comes after it.
    pub(crate) is_last: bool,
}

/// Messages taken at once.
const TAKEN_MAX: usize = 128;

impl Outbox {
    pub(super) fn new(
        broker: mpsc::UnboundedReceiver<ServerMessage>,
        edge: mpsc::Receiver<ServerFrame>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self { broker, edge, ledger, taken: Vec::new() }
    }

    /// Waits for messages and appends all that are there to `out`; `false` when the session has ended and all was told.
    /// Cancel safe.
    pub(crate) async fn take(&mut self, out: &mut Vec<Outgoing>) -> bool {
        tokio::select! {
            biased;
            count = self.broker.recv_many(&mut self.taken, TAKEN_MAX) => {
                if count == 0 {
                    let gone = Refusal::new(Code::ShuttingDown, "the node is shutting down; connect again in a moment");
                    out.push(Outgoing { frame: ServerFrame::refused(0, gone), answers: None, is_last: true });
                }
                for message in self.taken.drain(..) {
                    let answers = self.ledger.answer_by(&message);
                    // The broker refused the session as a whole.
                    let is_last = matches!(message, ServerMessage::Refused { request: 0, .. });
                    out.push(Outgoing { frame: ServerFrame::Message(message), answers, is_last });
                }
                true
            }
            frame = self.edge.recv() => {
                let Some(frame) = frame else { return false };
                out.push(Outgoing { frame, answers: None, is_last: false });
                true
            }
        }
    }
}
