//! Content keys: sealing what is published, opening what is received.

use crate::{ClientError, ErrorKind, encryption::reading::Contents};
use bytes::Bytes;
use mainstem_model::{
    Aes256GcmScheme, ContentKey, EncryptionFault, EncryptionScheme, EncryptionType, KeyId, NewEvent,
    OpenFault, Plain, SealContext, Sealed, StreamId, VerifiedBatch, limits, sealed_content, split_sealed,
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

pub(crate) mod reading;

pub use reading::Closed;

/// Bytes of a content that is to be sealed: what is sealed must still be a content.
pub(crate) const SEALABLE_BYTES_MAX: usize =
    limits::CONTENT_BYTES_MAX - KeyId::LENGTH - limits::SEAL_BYTES_MAX;

/// How contents are sealed and opened.
#[derive(Clone, Debug, Default)]
pub struct EncryptionConfig {
    /// Encryption types beside the built-in one (AES-256-GCM, type 1).
    pub schemes: Vec<Arc<dyn EncryptionScheme>>,
    /// The content keys of each stream. Events of streams without any are published in the clear.
    pub streams: BTreeMap<StreamId, StreamKeys>,
}

/// The content keys of one stream.
#[derive(Clone, Debug, Default)]
pub struct StreamKeys {
    /// Those that events may be sealed with.
    pub keys: Vec<ContentKey>,
    /// The one that what is published is sealed with; without it, events are published as they are.
    pub publish: Option<KeyId>,
}

impl StreamKeys {
    /// One key, for both.
    pub fn one(key: ContentKey) -> Self {
        Self { publish: Some(key.id), keys: vec![key] }
    }
}

/// A sealed content: its place in the batch, what it is bound to, and what the scheme sealed.
type Item<'a> = (usize, [u8; SealContext::LENGTH], &'a [u8]);

/// The schemes and keys that a client has.
#[derive(Debug)]
pub(crate) struct Keyring {
    schemes: BTreeMap<EncryptionType, Arc<dyn EncryptionScheme>>,
    streams: BTreeMap<StreamId, Keys>,
    has_plugins: bool,
}

#[derive(Debug)]
struct Keys {
    keys: BTreeMap<KeyId, ContentKey>,
    publish: Option<KeyId>,
}

impl Keyring {
    /// IMPORTANT: what is asked to be sealed must not go out in the clear, so whatever does not fit is an error at the start.
    pub(crate) fn new(config: &EncryptionConfig) -> Result<Self, ClientError> {
        let mut schemes: BTreeMap<_, Arc<dyn EncryptionScheme>> = BTreeMap::new();
        schemes.insert(EncryptionType::AES_256_GCM, Arc::new(Aes256GcmScheme));
        for scheme in &config.schemes {
            let of = scheme.encryption_type();
            match schemes.entry(of) {
                Entry::Vacant(place) => drop(place.insert(scheme.clone())),
                Entry::Occupied(_) => {
                    return Err(ClientError::argument(format!(
                        "there are two schemes for encryption type {}",
                        of.0
                    )));
                }
            }
        }
        let mut streams = BTreeMap::new();
        for (stream, given) in &config.streams {
            let mut keys = BTreeMap::new();
            for key in &given.keys {
                check_length(&schemes, key)?;
                if keys.insert(key.id, key.clone()).is_some() {
                    return Err(ClientError::argument(format!(
                        "two content keys of {stream} have the id {}",
                        key.id
                    )));
                }
            }
            if let Some(id) = given.publish {
                let key = keys.get(&id).ok_or_else(|| {
                    ClientError::argument(format!("{stream} has no content key {id} to publish with"))
                })?;
                if !schemes.contains_key(&key.encryption_type) {
                    let message = Closed::UnknownType(key.encryption_type).to_string();
                    return Err(ClientError::new(ErrorKind::NotConfigured, message));
                }
            }
            streams.insert(*stream, Keys { keys, publish: given.publish });
        }
        let has_plugins = schemes.keys().any(|of| of.is_of_plugin());
        Ok(Self { schemes, streams, has_plugins })
    }

    /// Whether opening may take as long as a plugin's bounds say.
    pub(crate) const fn has_plugins(&self) -> bool {
        self.has_plugins
    }

    /// How what is published in a context is sealed; none if it is not.
    pub(crate) fn sealing(&self, context: SealContext) -> Result<Option<Sealing>, ClientError> {
        let keys = self.streams.get(&context.stream_partition.stream);
        let key = keys.and_then(|keys| keys.keys.get(keys.publish.as_ref()?));
        let scheme = key.and_then(|key| self.schemes.get(&key.encryption_type));
        let (Some(key), Some(scheme)) = (key, scheme) else { return Ok(None) };
        let mut sealing = Sealing { scheme: scheme.clone(), key: key.clone(), context, overhead: 0 };
        let empty = NewEvent::binary(0, Bytes::new());
        sealing.overhead = sealing.seal(vec![empty])?.iter().map(|event| event.content.len()).sum();
        Ok(Some(sealing))
    }

    /// Opens a batch's contents from one place on. What does not open says why.
    pub(crate) fn open(&self, batch: &VerifiedBatch, from: usize) -> Contents {
        let mut contents = Contents::default();
        let context = SealContext::of(batch.header());
        let keys = self.streams.get(&batch.header().stream_partition.stream);
        // Of one type and key, each with its place.
        let mut groups: BTreeMap<(EncryptionType, KeyId), Vec<Item<'_>>> = BTreeMap::new();
        for (index, event) in batch.events().enumerate().skip(from) {
            let of = event.encryption_type;
            if of == EncryptionType::NONE {
                continue;
            }
            match split_sealed(event.content) {
                _ if !self.schemes.contains_key(&of) => contents.close(index, Closed::UnknownType(of)),
                None => contents.close(index, Closed::Malformed(of)),
                Some((key, sealed)) => {
                    let item = (index, context.associated_of(&event, key), sealed);
                    groups.entry((of, key)).or_default().push(item);
                }
            }
        }
        for ((of, id), items) in groups {
            let key = keys.and_then(|keys| keys.keys.get(&id)).filter(|key| key.encryption_type == of);
            let (Some(key), Some(scheme)) = (key, self.schemes.get(&of)) else {
                items.iter().for_each(|(index, ..)| contents.close(*index, Closed::MissingKey(of, id)));
                continue;
            };
            let sealed: Vec<_> =
                items.iter().map(|(_, associated, sealed)| Sealed { associated, sealed }).collect();
            match scheme.open(key.secret(), &sealed) {
                Ok(opened) => {
                    for ((index, ..), opened) in items.iter().zip(opened) {
                        match opened {
                            Ok(content) => contents.open(*index, id, content.into()),
                            Err(OpenFault::Forged) => contents.close(*index, Closed::Forged(of, id)),
                            Err(OpenFault::Malformed) => contents.close(*index, Closed::Malformed(of)),
                        }
                    }
                }
                Err(fault) => {
                    let why = fault.to_string();
                    items
                        .iter()
                        .for_each(|(index, ..)| contents.close(*index, Closed::Failed(of, id, why.clone())));
                }
            }
        }
        contents
    }
}

fn check_length(
    schemes: &BTreeMap<EncryptionType, Arc<dyn EncryptionScheme>>,
    key: &ContentKey,
) -> Result<(), ClientError> {
    let Some(scheme) = schemes.get(&key.encryption_type) else { return Ok(()) };
    let (given, right) = (key.secret().len(), scheme.key_bytes());
    if given == right {
        return Ok(());
    }
    let of = key.encryption_type.0;
    let message =
        format!("content key {} has {given} bytes; those of encryption type {of} have {right}", key.id);
    Err(ClientError::argument(message))
}

/// How one partition's publisher seals.
#[derive(Debug)]
pub(crate) struct Sealing {
    scheme: Arc<dyn EncryptionScheme>,
    key: ContentKey,
    context: SealContext,
    /// Bytes by which a content grows, key id included: those of an empty one.
    pub(crate) overhead: usize,
}

impl Sealing {
    /// Whether it may take as long as a plugin's bounds say.
    pub(crate) const fn is_of_plugin(&self) -> bool {
        self.key.encryption_type.is_of_plugin()
    }

    /// Seals what is in the clear; what the application has sealed itself stays as it is.
    pub(crate) fn seal(&self, mut events: Vec<NewEvent>) -> Result<Vec<NewEvent>, ClientError> {
        let (of, id) = (self.key.encryption_type, self.key.id);
        let is_clear = |event: &&NewEvent| event.encryption_type == EncryptionType::NONE;
        let associated: Vec<_> = events
            .iter()
            .filter(is_clear)
            .map(|event| self.context.associated(event.timestamp, event.content_type, of, id))
            .collect();
        let clear = events.iter().filter(is_clear).zip(&associated);
        // IMPORTANT: drawn anew each time; a nonce that comes twice under one key gives contents away.
        let plain = clear.map(|(event, associated)| Plain {
            nonce: rand::random(),
            associated,
            content: &event.content,
        });
        let plain: Vec<_> = plain.collect();
        let sealed = self.scheme.seal(self.key.secret(), &plain).map_err(refused)?;
        if sealed.len() != associated.len() {
            return Err(ClientError::new(
                ErrorKind::Unknown,
                "the scheme sealed fewer or more than it was given",
            ));
        }
        let clear = events.iter_mut().filter(|event| event.encryption_type == EncryptionType::NONE);
        for (event, sealed) in clear.zip(sealed) {
            event.content = sealed_content(id, &sealed).into();
            event.encryption_type = of;
        }
        Ok(events)
    }
}

fn refused(fault: EncryptionFault) -> ClientError {
    let kind = match fault {
        EncryptionFault::Invalid(_) => ErrorKind::InvalidArgument,
        EncryptionFault::Unsupported(_) => ErrorKind::NotConfigured,
        EncryptionFault::Unavailable(_) => ErrorKind::Overloaded,
    };
    ClientError::new(kind, format!("the event was not sealed, so it was not published: {fault}"))
}
