use crate::{CallError, Plugin, request::words_of};
use mainstem_model::{
    EncryptionFault, EncryptionScheme, EncryptionType, OpenFault, Opened, Plain, Sealed, limits,
};
use mainstem_plugin_abi::{
    Claim, EncryptionClaim,
    plugin_capnp::{self, FailureCode, opened, reply, request},
};
use zeroize::Zeroizing;

/// Contents in one call of the scheme. More are sent in several.
const ITEMS_PER_CALL: usize = 256;

/// Bytes of contents in one call of the scheme, unless one is longer: they are in a plugin's memory some times over, and a slow cipher must
/// not be taken over its deadline by a large batch.
const BYTES_PER_CALL: usize = 64 << 10;

impl Plugin {
    /// Seals contents with one key, in one call; as many as items, in their order.
    ///
    /// # Errors
    /// Every [`CallError`]; a key of another length is [`CallError::Asked`]. What is sealed and more than
    /// [`SEAL_BYTES_MAX`](limits::SEAL_BYTES_MAX) longer than its content is a fault.
    pub fn seal(&self, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, CallError> {
        self.check_key(key)?;
        let bytes = |item: &Plain<'_>| words_of(item.associated.len()) + words_of(item.content.len()) + 12;
        let words = 16 + words_of(key.len()) + items.iter().map(bytes).sum::<usize>();
        let fill = |request: request::Builder<'_>| {
            let mut seal = request.init_seal();
            seal.set_key(key);
            let mut list = seal.init_items(count(items.len()));
            for (index, item) in (0..).zip(items) {
                let mut to = list.reborrow().get(index);
                to.set_nonce(&item.nonce);
                to.set_associated(item.associated);
                to.set_content(item.content);
            }
        };
        self.call(words, fill, items.len(), |reply| read_sealed(items, reply))
    }

    /// Opens what was sealed with one key, in one call; as many answers as items, in their order.
    ///
    /// # Errors
    /// Every [`CallError`]; a key of another length is [`CallError::Asked`]. A content above
    /// [`CONTENT_BYTES_MAX`](limits::CONTENT_BYTES_MAX) is a fault.
    pub fn open(&self, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, CallError> {
        self.check_key(key)?;
        let bytes = |item: &Sealed<'_>| words_of(item.associated.len()) + words_of(item.sealed.len()) + 4;
        let words = 16 + words_of(key.len()) + items.iter().map(bytes).sum::<usize>();
        let fill = |request: request::Builder<'_>| {
            let mut open = request.init_open();
            open.set_key(key);
            let mut list = open.init_items(count(items.len()));
            for (index, item) in (0..).zip(items) {
                let mut to = list.reborrow().get(index);
                to.set_associated(item.associated);
                to.set_sealed(item.sealed);
            }
        };
        self.call(words, fill, items.len(), |reply| read_opened(items.len(), reply))
    }

    /// Wraps a content key for each recipient, in one call; 32 random bytes for each.
    ///
    /// # Errors
    /// Every [`CallError`]; a recipient that is none is [`CallError::Failed`] with `invalid`.
    pub fn wrap(&self, key: &[u8], recipients: &[&[u8]], random: &[u8]) -> Result<Vec<Vec<u8>>, CallError> {
        self.check_wraps()?;
        self.check_key(key)?;
        if random.len() != 32 * recipients.len() {
            return Err(self.asked("wrapping takes 32 random bytes for each recipient"));
        }
        let bytes = recipients.iter().map(|recipient| 1 + words_of(recipient.len())).sum::<usize>();
        let words = 16 + words_of(key.len()) + words_of(random.len()) + bytes;
        let fill = |request: request::Builder<'_>| {
            let mut wrap = request.init_wrap();
            wrap.set_key(key);
            wrap.set_random(random);
            let mut list = wrap.init_recipients(count(recipients.len()));
            for (index, recipient) in (0..).zip(recipients) {
                list.set(index, recipient);
            }
        };
        self.call(words, fill, recipients.len(), |reply| read_wrapped(recipients.len(), reply))
    }

    /// The content key that was wrapped for the holder of a private key.
    ///
    /// # Errors
    /// Every [`CallError`]; what was not wrapped for this key is [`CallError::Failed`] with `invalid`.
    pub fn unwrap(&self, private_key: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let key_bytes = usize::from(self.check_wraps()?.key_bytes);
        let words = 16 + words_of(private_key.len()) + words_of(wrapped.len());
        let fill = |request: request::Builder<'_>| {
            let mut unwrap = request.init_unwrap();
            unwrap.set_private_key(private_key);
            unwrap.set_wrapped(wrapped);
        };
        self.call(words, fill, 1, |reply| read_unwrapped(key_bytes, reply))
    }

    fn encryption_claim(&self) -> Result<&EncryptionClaim, CallError> {
        match &self.manifest().claim {
            Claim::Encryption(claim) => Ok(claim),
            other @ (Claim::Signature(_) | Claim::Operators(_) | Claim::Storage(_)) => {
                Err(self.asked(&format!("it is of kind {}, not an encryption type", other.kind())))
            }
        }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), CallError> {
        let expected = self.encryption_claim()?.key_bytes;
        if key.len() == usize::from(expected) {
            return Ok(());
        }
        Err(self.asked(&format!("a content key of {} bytes; its manifest says {expected}", key.len())))
    }

    fn check_wraps(&self) -> Result<&EncryptionClaim, CallError> {
        let claim = self.encryption_claim()?;
        if claim.wraps { Ok(claim) } else { Err(self.asked("its manifest says that it does not wrap keys")) }
    }
}

/// The reply to `seal` with these items.
pub(crate) fn read_sealed(
    items: &[Plain<'_>],
    reply: reply::WhichReader<'_>,
) -> Result<Vec<Vec<u8>>, String> {
    let reply::Sealed(sealed) = reply else { return Err("it has nothing sealed".into()) };
    let broken = |error| format!("what it sealed cannot be read: {error}");
    let sealed = sealed.map_err(broken)?;
    check_count("sealed contents", sealed.len(), items.len())?;
    let read = |(sealed, item): (capnp::Result<&[u8]>, &Plain<'_>)| {
        let (sealed, content) = (sealed.map_err(broken)?, item.content.len());
        let max = content + limits::SEAL_BYTES_MAX;
        check_length("what it sealed", sealed.len(), max).map(|()| sealed.to_vec())
    };
    sealed.iter().zip(items).map(read).collect()
}

/// The reply to `open` with so many items.
pub(crate) fn read_opened(count: usize, reply: reply::WhichReader<'_>) -> Result<Vec<Opened>, String> {
    let reply::Opened(opened) = reply else { return Err("it has nothing opened".into()) };
    let opened = opened.map_err(|error| format!("what it opened cannot be read: {error}"))?;
    check_count("opened contents", opened.len(), count)?;
    opened.iter().map(opened_one).collect()
}

/// The reply to `wrap` with so many recipients.
pub(crate) fn read_wrapped(count: usize, reply: reply::WhichReader<'_>) -> Result<Vec<Vec<u8>>, String> {
    let reply::Wrapped(wrapped) = reply else { return Err("it has nothing wrapped".into()) };
    let broken = |error| format!("what it wrapped cannot be read: {error}");
    let wrapped = wrapped.map_err(broken)?;
    check_count("wrapped keys", wrapped.len(), count)?;
    let read = |wrapped: capnp::Result<&[u8]>| {
        let wrapped = wrapped.map_err(broken)?;
        let max = limits::WRAPPED_KEY_BYTES_MAX;
        check_length("a wrapped key", wrapped.len(), max).map(|()| wrapped.to_vec())
    };
    wrapped.iter().map(read).collect()
}

/// The reply to `unwrap`.
pub(crate) fn read_unwrapped(
    key_bytes: usize,
    reply: reply::WhichReader<'_>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let reply::Unwrapped(key) = reply else { return Err("it has no key".into()) };
    let key = key.map_err(|error| format!("its key cannot be read: {error}"))?;
    if key.len() != key_bytes {
        return Err(format!("its key has {} bytes; its manifest says {key_bytes}", key.len()));
    }
    Ok(Zeroizing::new(key.to_vec()))
}

fn opened_one(opened: opened::Reader<'_>) -> Result<Opened, String> {
    Ok(match opened.which() {
        Ok(opened::Content(content)) => {
            let content = content.map_err(|error| format!("what it opened cannot be read: {error}"))?;
            check_length("what it opened", content.len(), limits::CONTENT_BYTES_MAX)?;
            Ok(content.to_vec())
        }
        Ok(opened::Fault(Ok(plugin_capnp::OpenFault::Malformed))) => Err(OpenFault::Malformed),
        // IMPORTANT: what this version does not know is never a content.
        Ok(opened::Fault(Ok(plugin_capnp::OpenFault::Forged) | Err(_))) | Err(_) => Err(OpenFault::Forged),
    })
}

fn check_count(of: &str, given: u32, right: usize) -> Result<(), String> {
    if given as usize == right { Ok(()) } else { Err(format!("it has {given} {of} for {right} items")) }
}

fn check_length(what: &str, length: usize, max: usize) -> Result<(), String> {
    if length <= max { Ok(()) } else { Err(format!("{what} has {length} bytes: {max} are the most")) }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// A plugin for encryption as an [`EncryptionScheme`].
#[derive(Clone, Debug)]
pub struct EncryptionPlugin {
    plugin: Plugin,
    claim: EncryptionClaim,
}

impl EncryptionPlugin {
    /// Of a plugin whose manifest claims an encryption type; nothing of others.
    pub fn new(plugin: Plugin) -> Option<Self> {
        let claim = *plugin.encryption_claim().ok()?;
        Some(Self { plugin, claim })
    }

    /// The plugin.
    pub const fn plugin(&self) -> &Plugin {
        &self.plugin
    }
}

impl EncryptionScheme for EncryptionPlugin {
    fn encryption_type(&self) -> EncryptionType {
        EncryptionType(self.claim.encryption_type)
    }

    fn key_bytes(&self) -> usize {
        self.claim.key_bytes.into()
    }

    fn seal(&self, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, EncryptionFault> {
        in_calls(items, |item| item.content.len(), |items| self.plugin.seal(key, items))
    }

    fn open(&self, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, EncryptionFault> {
        in_calls(items, |item| item.sealed.len(), |items| self.plugin.open(key, items))
    }

    fn wrap(&self, key: &[u8], recipients: &[&[u8]], random: &[u8]) -> Result<Vec<Vec<u8>>, EncryptionFault> {
        if !self.claim.wraps {
            return Err(EncryptionFault::Unsupported(self.claim.encryption_type));
        }
        self.plugin.wrap(key, recipients, random).map_err(fault)
    }

    fn unwrap(&self, private_key: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, EncryptionFault> {
        if !self.claim.wraps {
            return Err(EncryptionFault::Unsupported(self.claim.encryption_type));
        }
        self.plugin.unwrap(private_key, wrapped).map_err(fault)
    }
}

fn fault(error: CallError) -> EncryptionFault {
    let invalid =
        matches!(error, CallError::Asked { .. } | CallError::Failed { code: FailureCode::Invalid, .. });
    let text = error.to_string();
    if invalid { EncryptionFault::Invalid(text) } else { EncryptionFault::Unavailable(text) }
}

/// Makes as many calls as it takes, and puts their answers one behind the other.
fn in_calls<I, A>(
    mut items: &[I],
    bytes: impl Fn(&I) -> usize,
    call: impl Fn(&[I]) -> Result<Vec<A>, CallError>,
) -> Result<Vec<A>, EncryptionFault> {
    let mut answers = Vec::with_capacity(items.len());
    while !items.is_empty() {
        let mut sum = 0;
        let fit = items.iter().take(ITEMS_PER_CALL).take_while(|item| {
            sum += bytes(item);
            sum <= BYTES_PER_CALL
        });
        // One goes alone, however long it is.
        let count = fit.count().max(1);
        let (some, rest) = items.split_at(count);
        answers.extend(call(some).map_err(fault)?);
        items = rest;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn calls_hold_all_items_in_their_order_and_none_more_than_it_may() {
        let lengths = |items: &[usize]| {
            let calls = RefCell::new(Vec::new());
            let call = |some: &[usize]| {
                calls.borrow_mut().push(some.len());
                Ok(some.to_vec())
            };
            assert_eq!(in_calls(items, |item| *item, call).ok().as_deref(), Some(items));
            calls.into_inner()
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1; 600]), [256, 256, 88]);
        assert_eq!(lengths(&[1 << 20, 1 << 20, 1]), [1, 1, 1]);
        assert_eq!(lengths(&[30 << 10; 5]), [2, 2, 1]);
    }
}
