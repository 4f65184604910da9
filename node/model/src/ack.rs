use crate::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How safe a batch is at one broker. Ordered: a higher level includes the lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// Proven and in order; may be lost with the process.
    Accepted,
    /// Written to the journal: outlives kill -9 of the process.
    #[default]
    Stored,
    /// fsync returned: outlives power loss.
    Durable,
}

impl AckLevel {
    /// The word used in text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Stored => "stored",
            Self::Durable => "durable",
        }
    }
}

impl FromStr for AckLevel {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "accepted" => Ok(Self::Accepted),
            "stored" => Ok(Self::Stored),
            "durable" => Ok(Self::Durable),
            _ => Err(Refusal::new(Code::InvalidArgument, "an ack level is accepted, stored or durable")),
        }
    }
}

/// What a publisher waits for: a level, and at how many of the brokers that are assigned to the partition. As text `durable`
/// or, at more than one, `durable(2)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ack {
    /// The level.
    pub level: AckLevel,
    /// At how many brokers, at least 1. One that is asked for more than there are replicas refuses.
    pub copies: u8,
}

impl Ack {
    /// The level at `copies` brokers; 0 counts as 1.
    pub const fn new(level: AckLevel, copies: u8) -> Self {
        Self { level, copies: if copies == 0 { 1 } else { copies } }
    }
}

impl From<AckLevel> for Ack {
    fn from(level: AckLevel) -> Self {
        Self::new(level, 1)
    }
}

impl Default for Ack {
    fn default() -> Self {
        AckLevel::default().into()
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        if self.copies > 1 { write!(f, "({})", self.copies) } else { Ok(()) }
    }
}

impl FromStr for Ack {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (level, copies) = match text.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
            Some((level, copies)) => {
                let copies = copies.parse().ok().filter(|copies| *copies > 0);
                (
                    level,
                    copies.ok_or_else(|| {
                        Refusal::new(Code::InvalidArgument, "the copies of an ack are 1 to 255")
                    })?,
                )
            }
            None => (text, 1),
        };
        Ok(Self::new(level.parse()?, copies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_reads_what_it_writes() {
        for text in ["accepted", "stored", "durable", "durable(2)", "stored(255)"] {
            assert_eq!(text.parse::<Ack>().unwrap().to_string(), text);
        }
        assert_eq!("durable(1)".parse::<Ack>().unwrap(), AckLevel::Durable.into());
        for text in ["", "durable(0)", "durable(256)", "durable()", "durable(2", "kept(2)"] {
            assert_eq!(text.parse::<Ack>().unwrap_err().code, Code::InvalidArgument, "{text}");
        }
    }
}
