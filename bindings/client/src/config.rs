use crate::{ClientError, EncryptionConfig};
use mainstem_chain::{RpcConfig, WalletConfig};
use mainstem_crypto::SecretKey;
use mainstem_model::{Ack, Address, Delegation, Network, SchemeSigner, SignatureScheme, limits};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};

/// Everything a client is told at its start.
///
/// ```
/// use mainstem_client::{Broker, ClientConfig, Identity};
/// use mainstem_crypto::SecretKey;
/// use mainstem_model::{Address, Network};
/// let network = Network { chain_id: 31337, registry: Address([1; 20]) };
/// let broker: Broker = "quic://127.0.0.1:7172".parse().unwrap();
/// let mut config = ClientConfig::new(broker.pinned("8f".repeat(32).parse().unwrap()), network);
/// config.identity = Identity::Wallet(SecretKey::from_bytes(&[7; 32]).unwrap());
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the broker is, and how it is known.
    pub broker: Broker,
    /// The network; a broker of another one is refused.
    pub network: Network,
    /// In whose name.
    pub identity: Identity,
    /// For managing streams and looking up their partitions. Without it, name partitions yourself.
    pub chain: Option<ChainConfig>,
    /// Batching, acks, back-pressure.
    pub publish: PublishConfig,
    /// Queues and checks of subscriptions.
    pub subscribe: SubscribeConfig,
    /// What happens when the connection is lost.
    pub reconnect: ReconnectConfig,
    /// Sockets and windows.
    pub transport: TransportConfig,
    /// Signature types beside the built-in ones that received batches may have. Events of others are errors.
    pub schemes: Vec<Arc<dyn SignatureScheme>>,
    /// Content keys, and encryption types beside the built-in one. Events that do not open are brought sealed, with the reason.
    pub encryption: EncryptionConfig,
    /// Threads that prove received batches; 0 is one for each processor, at most 4.
    pub verify_threads: usize,
}

impl ClientConfig {
    /// All by default; nobody is signed in.
    pub fn new(broker: Broker, network: Network) -> Self {
        Self {
            broker,
            network,
            identity: Identity::None,
            chain: None,
            publish: PublishConfig::default(),
            subscribe: SubscribeConfig::default(),
            reconnect: ReconnectConfig::default(),
            transport: TransportConfig::default(),
            schemes: Vec::new(),
            encryption: EncryptionConfig::default(),
            verify_threads: 0,
        }
    }
}

/// Where a broker is and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// How it is reached.
    pub url: BrokerUrl,
    /// QUIC: take exactly this key; without it the certificate must be one that the system's roots vouch for.
    pub pin: Option<Pin>,
    /// The node's own address, if known: a node that says another one is refused.
    pub node: Option<Address>,
}

impl Broker {
    /// The same broker, known by its key.
    #[must_use]
    pub const fn pinned(mut self, pin: Pin) -> Self {
        self.pin = Some(pin);
        self
    }

    /// The same broker, known by its node's address.
    #[must_use]
    pub const fn of_node(mut self, node: Address) -> Self {
        self.node = Some(node);
        self
    }
}

impl FromStr for Broker {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        Ok(Self { url: text.parse()?, pin: None, node: None })
    }
}

/// `quic://host:port`, `ws://host:port[/path]` or `wss://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerUrl {
    /// The native transport.
    Quic {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// UDP port.
        port: u16,
    },
    /// WebSocket, for networks that let nothing else through.
    WebSocket(String),
}

/// The native port when a URL names none.
pub(crate) const QUIC_PORT: u16 = 7172;

impl FromStr for BrokerUrl {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::argument("a broker is quic://host:port, ws://host:port or wss://host");
        if let Some(rest) = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://")) {
            if rest.is_empty() || rest.starts_with('/') {
                return Err(wrong());
            }
            let url = if rest.contains('/') { text.to_owned() } else { format!("{text}/ws") };
            return Ok(Self::WebSocket(url));
        }
        let rest = text.strip_prefix("quic://").ok_or_else(wrong)?.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            // The last colon of a bare IPv6 address in brackets is inside them.
            Some((_, port)) if port.ends_with(']') => (rest, QUIC_PORT),
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (rest, QUIC_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        Ok(Self::Quic { host: host.to_owned(), port })
    }
}

/// SHA-256 that names a server's key: of its public key (SubjectPublicKeyInfo, DER), as nodes print it and as it outlives
/// certificates; or of its whole certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl FromStr for Pin {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::argument("a pin is 64 hex digits");
        let digits = text.trim().trim_start_matches("0x").replace(':', "");
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(wrong());
        }
        let mut pin = [0; 32];
        for (at, byte) in pin.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// In whose name a client acts.
#[derive(Clone, Debug, Default)]
pub enum Identity {
    /// Nobody: reads what everyone may read.
    #[default]
    None,
    /// A wallet's own key: signs in, publishes and manages streams.
    Wallet(SecretKey),
    /// A session key that a wallet has delegated publishing to. It publishes in the wallet's name, and signs in (for
    /// reading) under its own address.
    Session {
        /// The session key.
        key: SecretKey,
        /// The wallet's leave.
        delegation: Delegation,
    },
    /// A key of a type that is not built in. It publishes, and signs in nowhere: it reads what everyone may read.
    Scheme(Arc<dyn SchemeSigner>),
}

/// The chain that streams and rights are on.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// JSON-RPC endpoints.
    pub rpc: RpcConfig,
    /// Pricing and waiting of transactions.
    pub wallet: WalletConfig,
    /// A block before which the registry did not exist; searching its events begins there.
    pub from_block: u64,
}

impl ChainConfig {
    /// One JSON-RPC endpoint, all else by default.
    pub fn new(rpc_url: impl Into<String>) -> Self {
        Self { rpc: RpcConfig::one(rpc_url), wallet: WalletConfig::default(), from_block: 0 }
    }
}

/// How events become batches. While nothing is on its way an event leaves at once; while a batch is on its way the next one
/// fills, up to these bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishConfig {
    /// What a receipt waits for. At more than one broker (`Ack::new(AckLevel::Durable, 2)`) it has effect in a network of
    /// several brokers; one that has fewer replicas of the partition refuses, and the publisher fails. While fewer than so many
    /// of them answer it waits and sends again.
    pub ack: Ack,
    /// Events of one batch.
    pub batch_events_max: usize,
    /// Bytes of one batch's contents and fields.
    pub batch_bytes_max: usize,
    /// How long the first event of a filling batch waits at most.
    pub linger: Duration,
    /// Bytes of batches on their way to their acks, over the whole connection: the broker's `publish_window_bytes`.
    pub window_bytes: usize,
    /// Bytes of events that one partition's publisher holds until their acks; at it `publish` waits.
    pub buffer_bytes_max: usize,
    /// Acked but not yet durable bytes of one partition's publisher that are kept, to be sent again to a broker that lost
    /// them in a crash. What has become older than the broker's clock allows is not taken again: `flush` tells, and the
    /// publisher goes on with another series.
    pub retained_bytes_max: usize,
    /// How long to wait before sending again what an overloaded broker refused, or what too few brokers have kept in time.
    pub overload_backoff: Duration,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            ack: Ack::default(),
            batch_events_max: limits::EVENTS_PER_BATCH_MAX,
            // DESIGN section 4: signing and proving 64 KiB costs about as much as hashing it.
            batch_bytes_max: 64 << 10,
            linger: Duration::from_millis(5),
            window_bytes: 4 << 20,
            buffer_bytes_max: 4 << 20,
            retained_bytes_max: 1 << 20,
            overload_backoff: Duration::from_millis(50),
        }
    }
}

/// Bounds of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeConfig {
    /// Bytes of proven batches that wait for the application; at it nothing more is read from the network.
    pub queue_bytes_max: usize,
    /// Bytes of received batches that are being proven.
    pub unproven_bytes_max: usize,
    /// Series whose place is remembered, of each partition, to tell gaps, forks and duplicates.
    pub series_max: usize,
    /// How often a broker may send something wrong in a row before the subscription ends.
    pub bad_batches_max: u32,
    /// How long the broker may take to fill a gap.
    pub gap_timeout: Duration,
}

impl Default for SubscribeConfig {
    fn default() -> Self {
        Self {
            queue_bytes_max: 4 << 20,
            unproven_bytes_max: 1 << 20,
            series_max: 20_000,
            bad_batches_max: 3,
            gap_timeout: Duration::from_secs(10),
        }
    }
}

/// Waiting between attempts to connect: doubles from `first` to `max`, each drawn between half and whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconnectConfig {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Attempts in a row after which the client gives up and closes; `None` is never.
    pub attempts_max: Option<u32>,
    /// Seed of the jitter; `None` draws one.
    pub seed: Option<u64>,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            max: Duration::from_secs(10),
            attempts_max: None,
            seed: None,
        }
    }
}

/// Sockets and windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportConfig {
    /// Connecting and signing in must be done within this time.
    pub connect_timeout: Duration,
    /// An answer must come within this time.
    pub request_timeout: Duration,
    /// A connection on which nothing comes for this long is gone.
    pub idle: Duration,
    /// How often a quiet connection is kept open.
    pub keep_alive: Duration,
    /// Bytes on their way to each subscription.
    pub stream_window_bytes: u32,
    /// Bytes on their way to the broker.
    pub send_window_bytes: u64,
    /// Greatest UDP payload that is tried; the path is probed.
    pub udp_payload_bytes_max: u16,
    /// Kernel buffers, each way; the system may cap them.
    pub socket_buffer_bytes: usize,
    /// Subscriptions at a time.
    pub subscriptions_max: u32,
    /// Streams that the broker may open beyond those of open subscriptions and a quarter of them: those of subscriptions
    /// that have just been left. Each may hold `stream_window_bytes` here.
    pub streams_spare: u32,
    /// When a broker's name has several addresses, the next one is tried if the ones before have not answered for so long.
    pub address_stagger: Duration,
    /// How long `close` waits until the broker knows; then it hears of it by silence.
    pub close_timeout: Duration,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            // A broker that died without a word is noticed within this time.
            idle: Duration::from_secs(15),
            keep_alive: Duration::from_secs(4),
            stream_window_bytes: 4 << 20,
            send_window_bytes: 4 << 20,
            // One segmentation-offload call of the kernel takes 64 KiB and quinn fills it with ten packets: larger ones fail in silence.
            udp_payload_bytes_max: 6500,
            socket_buffer_bytes: 4 << 20,
            subscriptions_max: 1024,
            streams_spare: 16,
            // RFC 8305, section 5.
            address_stagger: Duration::from_millis(250),
            close_timeout: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_urls_are_read() {
        let quic = |host: &str, port| Ok(BrokerUrl::Quic { host: host.into(), port });
        let ws = |url: &str| Ok(BrokerUrl::WebSocket(url.into()));
        for (text, expected) in [
            ("quic://127.0.0.1:99", quic("127.0.0.1", 99)),
            ("quic://broker.example", quic("broker.example", QUIC_PORT)),
            ("quic://[::1]:5", quic("::1", 5)),
            ("quic://[::1]", quic("::1", QUIC_PORT)),
            ("ws://h:1", ws("ws://h:1/ws")),
            ("wss://h/deep/ws", ws("wss://h/deep/ws")),
        ] {
            assert_eq!(text.parse::<BrokerUrl>(), expected, "{text}");
        }
        for text in ["", "http://h", "quic://", "quic://h:x", "quic://h:70000", "ws://", "quic://h/p"] {
            assert!(text.parse::<BrokerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pin_is_64_hex_digits() {
        let pin: Pin = "0a".repeat(32).parse().unwrap();
        assert_eq!(pin.to_string(), "0a".repeat(32));
        assert!("0a".repeat(31).parse::<Pin>().is_err());
        assert!("zz".repeat(32).parse::<Pin>().is_err());
    }
}
