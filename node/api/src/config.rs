use crate::ApiError;
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    thread,
    time::Duration,
};

/// Threads for CPU-heavy work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersConfig {
    /// How many; 0 is one for each processor, at least 2.
    pub threads: usize,
    /// How many more each plugin for signatures has, which are its own: what is slow to prove holds up what else it proves, and the
    /// sessions that bring it. At most `plugins.instances_max`; 0 is half of the above, at least 1 and at most that. On Linux one that has
    /// kept a processor for 2 ms for a proof, three times, gives way to others from then on (niceness 10: a tenth of what another one has
    /// where both want to run; from Linux 6.12 on others need not wait for its slice when they wake). For 10 ms: it runs where nobody
    /// else wants to (`SCHED_IDLE`), and by turns with those of other such plugins: together they keep one processor busy at most. A batch
    /// counts as a proof, and as one more for each 256 KiB of it.
    pub plugin_threads: usize,
    /// Of the time of each of these that such slow proofs may take from then on, 1 to 100 percent. After one the thread rests, 10 s at most,
    /// so a plugin that takes 20 ms for a proof gives 5 a second for each thread at 10 percent; what comes faster waits, up to
    /// `queue_max`. To be raised for a plugin that is trusted and slow by its nature.
    pub slow_percent_max: u32,
    /// Pieces of work waiting or being done, of the node and of each plugin, and as many of what other brokers bring; 1 to 1,048,576. One more
    /// waits in its session, which reads no further. For a plugin's a request by HTTP gets `OVERLOADED` instead, and another
    /// broker's batch too (see `network.proofs_max`).
    pub queue_max: usize,
}

/// More pieces of work than memory has room for.
const QUEUE_MAX: usize = 1 << 20;

impl Default for WorkersConfig {
    fn default() -> Self {
        // 256 batches of 64 KiB are 16 MiB and, on two cores, 20 ms of work.
        Self { threads: 0, plugin_threads: 0, slow_percent_max: 10, queue_max: 256 }
    }
}

impl WorkersConfig {
    /// Whether its bounds can be.
    ///
    /// # Errors
    /// [`ApiError::Config`].
    pub fn check(&self) -> Result<(), ApiError> {
        if !(1..=QUEUE_MAX).contains(&self.queue_max) {
            let reason = format!("is {}; it must be 1 to {QUEUE_MAX}", self.queue_max);
            return Err(ApiError::Config { key: "workers.queue_max", reason });
        }
        if !(1..=100).contains(&self.slow_percent_max) {
            let reason = format!("is {}; it must be 1 to 100", self.slow_percent_max);
            return Err(ApiError::Config { key: "workers.slow_percent_max", reason });
        }
        Ok(())
    }

    /// Threads for the node's own work.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(2, NonZero::get).max(2),
            threads => threads,
        }
    }

    /// Threads of each plugin.
    pub fn plugin_threads(&self) -> usize {
        match self.plugin_threads {
            0 => (self.threads() / 2).max(1),
            threads => threads,
        }
    }
}

/// Bounds of any one session, whatever it came by. At each of the first four nothing is refused: the session is read no
/// further until there is room again, so its sender is slowed by its transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Requests without an answer.
    pub requests_open_max: usize,
    /// Subscribe requests without an answer; each may bring a subscription's whole queue.
    pub subscribes_open_max: usize,
    /// Bytes of batches that were read and are not yet proven. One batch may always be on its way.
    pub unproven_bytes_max: usize,
    /// Requests a second, over a burst of the same number.
    pub requests_per_second_max: u32,
    /// How long a batch for which the session has too much on its way waits for room before it is refused with `OVERLOADED`,
    /// milliseconds; nothing more of the session is read meanwhile. Whoever goes on all the same is held to so many refusals, and
    /// what the node works on are batches.
    pub refusal_wait_ms: u64,
    /// Attempts to sign in. One more is refused with `LIMIT_REACHED` and ends the session.
    pub sign_ins_max: u32,
    /// Batches that did not prove, or were equivocations. One more ends the session with `LIMIT_REACHED`.
    pub bad_batches_max: u32,
    /// How long a session that ends waits for the answers it still owes, milliseconds.
    pub drain_ms: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            requests_open_max: 1024,
            subscribes_open_max: 16,
            unproven_bytes_max: 1 << 20,
            // Ten times what two cores can prove of one-event batches.
            requests_per_second_max: 100_000,
            // A hundred refusals a second.
            refusal_wait_ms: 10,
            sign_ins_max: 8,
            bad_batches_max: 256,
            drain_ms: 3_000,
        }
    }
}

/// The QUIC listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuicConfig {
    /// Where to listen (UDP).
    pub listen: SocketAddr,
    /// Open connections. One more is closed with `LIMIT_REACHED`, a flood of them refused without a word. With half of them
    /// open, newcomers first prove that they own their address (a stateless retry, one round trip).
    ///
    /// A hostile client can pin about `receive_window_bytes`, one frame and `send_window_bytes`.
    pub connections_max: usize,
    /// Open connections of one address (of one /64 with IPv6); one more is closed with `LIMIT_REACHED`. Loopback is counted
    /// too. With half of them open, newcomers from there first prove that they own the address.
    pub connections_per_address_max: usize,
    /// A connection must have shaken hands, and then begun its session, within this time each; milliseconds.
    pub handshake_ms: u64,
    /// A frame that has begun must be whole within this time, milliseconds; else `MALFORMED_FRAME`, and the connection ends.
    pub frame_ms: u64,
    /// A connection on which nothing comes in for this long is gone, milliseconds.
    pub idle_ms: u64,
    /// How often a quiet connection is kept open, milliseconds.
    pub keep_alive_ms: u64,
    /// Bytes that a client may have on their way to a connection.
    pub receive_window_bytes: u32,
    /// Bytes on their way to a client, of all its subscriptions.
    pub send_window_bytes: u32,
    /// Greatest UDP payload that is tried, bytes; at most 6,500. The path is probed, so it is safe anywhere.
    ///
    /// Why 6,500: quinn hands up to 10 packets to the kernel in one call (segmentation offload), and one call takes 64 KiB. With
    /// larger packets such calls fail unseen and all is sent again: loopback falls from 1,000 MB/s to 6.
    pub udp_payload_bytes_max: u16,
    /// Kernel buffers of the socket, each way. The system may cap them (`net.core.rmem_max`).
    pub socket_buffer_bytes: u32,
    /// Streams of ended subscriptions that the client has not read to their end. At one more the connection is closed with
    /// `LIMIT_REACHED`.
    pub ended_streams_max: usize,
    /// How long an ending listener waits for its connections, milliseconds.
    pub shutdown_ms: u64,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7172)),
            connections_max: 1_000,
            // A quarter: one host cannot shut the others out.
            connections_per_address_max: 250,
            handshake_ms: 10_000,
            frame_ms: 30_000,
            idle_ms: 30_000,
            keep_alive_ms: 10_000,
            // 50 MB/s over 20 ms; as fast as any larger one on loopback.
            receive_window_bytes: 1 << 20,
            send_window_bytes: 4 << 20,
            udp_payload_bytes_max: 6_500,
            socket_buffer_bytes: 4 << 20,
            ended_streams_max: 32,
            shutdown_ms: 5_000,
        }
    }
}

/// WebSocket sessions. The HTTP listener carries them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketConfig {
    /// Bytes of one message from a client, in any number of fragments. A larger one ends the session.
    pub message_bytes_max: usize,
    /// Bytes read ahead for each socket. 5,000 quiet sockets take this much each.
    pub read_buffer_bytes: usize,
    /// Bytes gathered before they are handed to the system.
    pub write_buffer_bytes: usize,
    /// Bytes that one socket may have gathered at all; must hold `write_buffer_bytes` and one message to the client, which
    /// takes up to 2,101,248 bytes (a content as hex digits).
    pub write_buffer_bytes_max: usize,
    /// A socket on which nothing came or went for this long is pinged; for twice as long, it is closed. Milliseconds.
    pub ping_ms: u64,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            // A batch in base64, and what stands around it.
            message_bytes_max: crate::frame::FRAME_BYTES_MAX.div_ceil(3) * 4 + (8 << 10),
            read_buffer_bytes: 8 << 10,
            write_buffer_bytes: 8 << 10,
            write_buffer_bytes_max: 4 << 20,
            ping_ms: 15_000,
        }
    }
}

impl WebSocketConfig {
    /// Whether its bounds go together.
    ///
    /// # Errors
    /// [`ApiError::Config`].
    pub fn check(&self) -> Result<(), ApiError> {
        // A binary message holds a batch as it is, one in JSON an event; the rest is the frame's own header.
        let message = crate::http::EVENT_JSON_BYTES_MAX.max(crate::frame::FRAME_BYTES_MAX);
        let least = self.write_buffer_bytes.saturating_add(message + 16);
        if self.write_buffer_bytes_max >= least {
            return Ok(());
        }
        // Else the event that does not fit would end every session that reads it.
        Err(ApiError::Config {
            key: "websocket.write_buffer_bytes_max",
            reason: format!("is {}; it must be at least {least}", self.write_buffer_bytes_max),
        })
    }
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
