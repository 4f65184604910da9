use crate::{Code, Refusal};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
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

impl Serialize for Ack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Who reads the text says which field it was and with which code.
        text.parse().map_err(|refusal: Refusal| D::Error::custom(refusal.message))
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

    #[test]
    fn an_ack_is_a_text_in_json() {
        let ack = Ack::new(AckLevel::Durable, 2);
        assert_eq!(serde_json::to_string(&ack).unwrap(), r#""durable(2)""#);
        assert_eq!(serde_json::from_str::<Ack>(r#""durable(2)""#).unwrap(), ack);
        assert_eq!(serde_json::from_str::<Ack>(r#""stored""#).unwrap(), AckLevel::Stored.into());
        let error = serde_json::from_str::<Ack>(r#""durable(0)""#).unwrap_err();
        assert!(error.to_string().starts_with("the copies of an ack are 1 to 255"), "{error}");
        assert!(serde_json::from_str::<Ack>("2").is_err());
    }
}
