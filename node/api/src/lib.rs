//! The listeners of a node: QUIC, HTTP and WebSocket.
//!
//! What it is: frames and requests become typed events for the broker's state machine, and its messages become frames.
//! What it is not: it decides nothing about rights, order or history.

mod handle;

pub use handle::{Input, Manage, ManageAction, NodeHandle};
