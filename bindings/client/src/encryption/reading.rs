use bytes::Bytes;
use mainstem_model::{EncryptionType, EventRef, KeyId};
use std::collections::BTreeMap;

/// Why an event is brought sealed, as it was published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// Nobody here knows the type.
    #[error(
        "encryption type {of} is not known here: install its plugin (`mainstem plugin install FILE`), or give the client its scheme",
        of = .0.0
    )]
    UnknownType(EncryptionType),
    /// The key is not here.
    #[error("it is sealed by type {of} with content key {1}, which is not here: ask its publisher for it", of = .0.0)]
    MissingKey(EncryptionType, KeyId),
    /// It was not sealed with this key for this event, or was changed.
    #[error("it does not open with content key {1} (type {of}): it was not sealed for this event, or is forged", of = .0.0)]
    Forged(EncryptionType, KeyId),
    /// Its bytes are nothing that its type seals.
    #[error("it is nothing that is sealed by type {of}", of = .0.0)]
    Malformed(EncryptionType),
    /// The scheme failed; what is read again later may open.
    #[error("it was not opened with content key {1} (type {of}): {2}", of = .0.0)]
    Failed(EncryptionType, KeyId, String),
}

impl Closed {
    /// How it is sealed.
    pub const fn encryption_type(&self) -> EncryptionType {
        match self {
            Self::UnknownType(of)
            | Self::MissingKey(of, _)
            | Self::Forged(of, _)
            | Self::Malformed(of)
            | Self::Failed(of, ..) => *of,
        }
    }

    /// With which key, if that is known.
    pub const fn key(&self) -> Option<KeyId> {
        match self {
            Self::MissingKey(_, key) | Self::Forged(_, key) | Self::Failed(_, key, _) => Some(*key),
            Self::UnknownType(_) | Self::Malformed(_) => None,
        }
    }
}

/// What became of the contents of a batch, by their places; those in the clear are not among them.
#[derive(Debug, Default)]
pub(crate) struct Contents(BTreeMap<usize, Reading>);

#[derive(Debug)]
enum Reading {
    Opened { key: KeyId, content: Bytes },
    Closed(Closed),
}

impl Contents {
    pub(super) fn open(&mut self, index: usize, key: KeyId, content: Bytes) {
        self.0.insert(index, Reading::Opened { key, content });
    }

    pub(super) fn close(&mut self, index: usize, why: Closed) {
        self.0.insert(index, Reading::Closed(why));
    }

    /// The content that was opened, and the key that opened it.
    pub(crate) fn opened(&self, index: usize) -> Option<(KeyId, &Bytes)> {
        match self.0.get(&index) {
            Some(Reading::Opened { key, content }) => Some((*key, content)),
            Some(Reading::Closed(_)) | None => None,
        }
    }

    /// Why a content is sealed still.
    pub(crate) fn closed(&self, index: usize) -> Option<&Closed> {
        match self.0.get(&index) {
            Some(Reading::Closed(why)) => Some(why),
            Some(Reading::Opened { .. }) | None => None,
        }
    }

    /// The event with the content that was opened.
    pub(crate) fn read<'a>(&'a self, index: usize, event: EventRef<'a>) -> EventRef<'a> {
        match self.opened(index) {
            Some((_, content)) => EventRef { content, ..event },
            None => event,
        }
    }

    /// Bytes of what was opened.
    pub(crate) fn bytes(&self) -> usize {
        self.0.keys().filter_map(|index| self.opened(*index)).map(|(_, content)| content.len()).sum()
    }
}
