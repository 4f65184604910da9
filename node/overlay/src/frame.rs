//! The bytes on a data substream.
//!
//! | from | bytes | what |
//! |---|---|---|
//! | acceptor | u32 length, then text | `READY`, or a code, a space and a sentence; then the substream is closed |
//! | opener | u32 length, then as many bytes | a frame, any number of them, only after `READY` |
//!
//! Lengths are big-endian. An acceptor may also send a code and a sentence later, when it gives up.

use libp2p::StreamProtocol;
use std::fmt;

/// Which of the two ways to a peer a frame takes. They share a connection and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// What subscribers wait for.
    Live,
    /// Repair, history, rebuilds: much, and not urgent.
    Bulk,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Live, Self::Bulk];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Live => 0,
            Self::Bulk => 1,
        }
    }

    pub(crate) const fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Live => "/mainstem/live/1",
            Self::Bulk => "/mainstem/bulk/1",
        })
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Bulk => "bulk",
        })
    }
}

/// What a frame counts beside its bytes wherever bytes are bounded, so that many tiny frames are bounded too.
pub(crate) const FRAME_COST: usize = 64;

/// Bytes of the length before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Bytes of an acceptor's answer. A longer one is no answer of ours.
pub(crate) const ANSWER_BYTES_MAX: usize = 512;

const READY: &str = "READY";

/// Why a data substream was refused or given up. The names are on the wire and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCode {
    /// The opener's key is not that of a broker that the acceptor knows.
    NotABroker,
    /// A frame was announced that is longer than the acceptor takes.
    FrameTooLarge,
    /// A frame without bytes was announced.
    MalformedFrame,
    /// The opener has this lane open already.
    LimitReached,
    /// A code that this version does not know.
    Unknown,
}

impl RefusalCode {
    /// The code as it is on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotABroker => "NOT_A_BROKER",
            Self::FrameTooLarge => "FRAME_TOO_LARGE",
            Self::MalformedFrame => "MALFORMED_FRAME",
            Self::LimitReached => "LIMIT_REACHED",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn from_text(text: &str) -> Self {
        [Self::NotABroker, Self::FrameTooLarge, Self::MalformedFrame, Self::LimitReached]
            .into_iter()
            .find(|code| code.as_str() == text)
            .unwrap_or(Self::Unknown)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::NotABroker => {
                "This node exchanges data only with registered brokers; register with the NetworkCoordinator, or \
                 publish and subscribe through the client API."
            }
            Self::FrameTooLarge => "The frame is longer than this node takes.",
            Self::MalformedFrame => "A frame has at least one byte.",
            Self::LimitReached => "This lane is open already; a broker opens each once.",
            Self::Unknown => "No reason is given.",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an acceptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ready,
    Refused(RefusalCode),
}

impl Answer {
    pub(crate) fn encode(self) -> Vec<u8> {
        let text = match self {
            Self::Ready => READY.to_owned(),
            Self::Refused(code) => format!("{code} {}", code.sentence()),
        };
        let length = u32::try_from(text.len()).expect("a sentence of ours is short");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// Reads the text after the length.
    pub(crate) fn decode(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        match text.split(' ').next() {
            Some(READY) => Self::Ready,
            code => Self::Refused(RefusalCode::from_text(code.unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_were_written_and_are_short() {
        for answer in [
            Answer::Ready,
            Answer::Refused(RefusalCode::NotABroker),
            Answer::Refused(RefusalCode::FrameTooLarge),
            Answer::Refused(RefusalCode::MalformedFrame),
            Answer::Refused(RefusalCode::LimitReached),
            Answer::Refused(RefusalCode::Unknown),
        ] {
            let bytes = answer.encode();
            assert!(bytes.len() <= LENGTH_BYTES + ANSWER_BYTES_MAX);
            assert_eq!(Answer::decode(&bytes[LENGTH_BYTES..]), answer);
        }
    }

    #[test]
    fn what_is_no_answer_of_ours_is_a_refusal_without_a_reason() {
        for text in [&b""[..], b"\xff\xfe", b"ready", b"READYX"] {
            assert_eq!(Answer::decode(text), Answer::Refused(RefusalCode::Unknown));
        }
    }
}
