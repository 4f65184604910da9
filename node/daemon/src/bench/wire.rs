//! A session in the native frames and nothing else: no window, no order, no proofs. What a client would never do to a broker
//! can be done with it, and it takes little of the processors that it shares with the brokers.

use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use capnp::{message, serialize};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use mainstem_model::{Ack, AckLevel, StreamPartition};
use mainstem_schema::frame_capnp as wire;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

type Socket = WebSocketStream<TcpStream>;

/// What a broker says of what was asked.
#[derive(Debug)]
pub(crate) enum Told {
    Ack {
        request: u64,
    },
    /// With the code.
    Refused {
        request: u64,
        code: String,
    },
    Batch(Bytes),
    /// The past was told.
    CaughtUp,
    /// All that was asked for was sent, or not.
    Ended {
        complete: bool,
    },
    Other,
}

/// The way to a broker. What is fed is sent when there is enough of it, or at [`Up::flush`].
#[derive(Debug)]
pub(crate) struct Up(SplitSink<Socket, Message>);

/// The way back.
#[derive(Debug)]
pub(crate) struct Down(SplitStream<Socket>);

/// Opens a session at a broker's WebSocket.
///
/// # Errors
/// The broker is not there or does not speak the protocol.
pub(crate) async fn connect(url: &str) -> anyhow::Result<(Up, Down)> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mainstem.capnp.v1"));
    let host = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
    let tcp = TcpStream::connect(host).await.with_context(|| format!("no broker at {host}"))?;
    tcp.set_nodelay(true)?;
    let (socket, _) = client_async(request, tcp).await?;
    let (up, down) = socket.split();
    Ok((Up(up), Down(down)))
}

impl Up {
    /// Waits while the broker takes nothing.
    pub(crate) async fn publish(&mut self, request: u64, ack: Ack, batch: &Bytes) -> anyhow::Result<()> {
        let message = message_of(request, batch, |mut frame| {
            frame.set_publish(match ack.level {
                AckLevel::Accepted => wire::AckLevel::Accepted,
                AckLevel::Stored => wire::AckLevel::Stored,
                AckLevel::Durable => wire::AckLevel::Durable,
            });
            frame.set_copies(ack.copies);
        })?;
        Ok(self.0.feed(Message::Binary(message)).await?)
    }

    /// All of the past, then what is live or the end.
    pub(crate) async fn subscribe(
        &mut self,
        request: u64,
        at: StreamPartition,
        live: bool,
    ) -> anyhow::Result<()> {
        let message = message_of(request, &Bytes::new(), |frame| {
            let mut ask = frame.init_subscribe();
            ask.set_stream(at.stream.0.as_bytes());
            ask.set_partition(at.partition.number());
            ask.set_live(live);
            ask.init_start().set_from(0);
        })?;
        self.0.feed(Message::Binary(message)).await?;
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.0.flush().await?)
    }
}

impl Down {
    /// What comes next. Cancel safe.
    ///
    /// # Errors
    /// The broker has closed the session.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Told> {
        loop {
            match self.0.next().await.context("the broker closed the session")?? {
                Message::Binary(message) => return read(&message),
                Message::Close(close) => bail!("the broker closed the session: {close:?}"),
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// Length of the head, head, body.
fn message_of(
    request: u64,
    body: &Bytes,
    fill: impl FnOnce(wire::client_frame::Builder<'_>),
) -> anyhow::Result<Bytes> {
    let mut head = message::Builder::new(message::HeapAllocator::new().first_segment_words(32));
    let mut frame = head.init_root::<wire::client_frame::Builder<'_>>();
    frame.set_request(request);
    fill(frame);
    let words = serialize::compute_serialized_size_in_words(&head);
    let mut out = BytesMut::with_capacity(4 + 8 * words + body.len());
    out.put_u32_le(u32::try_from(8 * words)?);
    let mut writer = out.writer();
    serialize::write_message(&mut writer, &head)?;
    let mut out = writer.into_inner();
    out.put_slice(body);
    Ok(out.freeze())
}

fn read(message: &Bytes) -> anyhow::Result<Told> {
    use wire::server_frame::Which;
    let length = message.first_chunk::<4>().context("a message is cut short")?;
    let end = 4 + u32::from_le_bytes(*length) as usize;
    let mut head = message.get(4..end).context("a message is cut short")?;
    let reader = serialize::read_message_from_flat_slice_no_alloc(&mut head, message::ReaderOptions::new())?;
    let frame = reader.get_root::<wire::server_frame::Reader<'_>>()?;
    Ok(match frame.which()? {
        Which::Ack(ack) => Told::Ack { request: ack?.get_request() },
        Which::Refused(refused) => {
            let refused = refused?;
            let code = refused.get_error()?.get_code()?.to_string()?;
            Told::Refused { request: refused.get_request(), code }
        }
        Which::Deliver(_) => Told::Batch(message.slice(end..)),
        Which::CaughtUp(told) => {
            if told?.get_more() {
                Told::Other
            } else {
                Told::CaughtUp
            }
        }
        Which::Ended(told) => Told::Ended { complete: told?.get_complete() },
        Which::Hello(_)
        | Which::SignedIn(_)
        | Which::Subscribed(_)
        | Which::Unsubscribed(_)
        | Which::Pong(_) => Told::Other,
    })
}
