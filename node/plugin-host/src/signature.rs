use crate::{
    CallError, Plugin,
    instance::Quick,
    request::{Laid, words_of},
};
use mainstem_crypto::sha256;
use mainstem_model::{
    Address, BatchId, Origin, SchemeSigner, SignatureFault, SignatureScheme, SignatureType, SignedHeader,
    limits,
};
use mainstem_plugin_abi::{
    Claim, SignatureClaim,
    layout::{Words, Writer, sizes, tags},
    plugin_capnp::{self, reply, request},
};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// Signatures in one call of the scheme. More are sent in several: 64 take about 6 ms with the node's own checks, so that a machine
/// with much else to do does not take a plugin over its deadline. A call costs less than a µs.
const ITEMS_PER_CALL: usize = 64;

/// Words of the items in one call of the scheme. Whoever sends long signatures must not make a plugin with little memory fail.
const WORDS_PER_CALL: usize = (256 << 10) / 8;

/// Origin type of an Ethereum address.
const ETHEREUM: u8 = 1;

/// A signature, and what it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedItem<'a> {
    /// The 203 bytes that are signed.
    pub header: &'a [u8],
    /// Their SHA-256.
    pub batch_id: [u8; 32],
    /// Of the header.
    pub origin_type: u8,
    /// Of the header, without padding: 1 to 32 bytes.
    pub origin: &'a [u8],
    /// The greatest of the header, ms since 1970.
    pub timestamp: i64,
    /// 0 to 16,384 bytes.
    pub signature: &'a [u8],
}

impl SignedItem<'_> {
    /// Words of its message.
    fn words(&self) -> usize {
        10 + words_of(self.header.len()) + words_of(self.origin.len()) + words_of(self.signature.len())
    }
}

/// What a plugin says of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the origin's over this header.
    Valid,
    /// It is not, or the plugin says what this version does not know.
    Invalid,
    /// Its bytes are no signature of this type.
    Malformed,
    /// What it stands on was not in force at the item's timestamp.
    Expired,
    /// It stands on nothing that is trusted here.
    Untrusted,
    /// It cannot be told now.
    Unavailable,
}

impl Plugin {
    /// Whether each signature holds, in one call; as many answers as items, in their order.
    ///
    /// # Errors
    /// Every [`CallError`].
    pub fn verify(&self, items: &[SignedItem<'_>]) -> Result<Vec<Verdict>, CallError> {
        self.signature_claim()?;
        let words = 5 + items.iter().map(SignedItem::words).sum::<usize>();
        let request = Laid { words, lay: |to: &mut Writer<'_>| lay_items(items, to) };
        let read = Quick {
            quick: |words: Words<'_>| quick_verdicts(items.len(), words),
            read: |reply: reply::WhichReader<'_>| read_verdicts(items.len(), reply),
        };
        self.call_laid(request, items.len(), read)
    }

    /// Signs batch ids with a private key, in a form that the plugin's type says. For clients: a node never calls it.
    ///
    /// # Errors
    /// Every [`CallError`]; a key that is none is [`CallError::Failed`] with `invalid`.
    pub fn sign(&self, key: &[u8], batch_ids: &[[u8; 32]]) -> Result<Vec<Vec<u8>>, CallError> {
        if !self.signature_claim()?.signs {
            return Err(self.asked("its manifest says that it does not sign"));
        }
        let words = 16 + words_of(key.len()) + 5 * batch_ids.len();
        let fill = |request: request::Builder<'_>| {
            let mut sign = request.init_sign();
            sign.set_key(key);
            let mut list = sign.init_batch_ids(u32::try_from(batch_ids.len()).unwrap_or(u32::MAX));
            for (index, id) in (0..).zip(batch_ids) {
                list.set(index, id);
            }
        };
        self.call(words, fill, batch_ids.len(), |reply| read_signatures(batch_ids.len(), reply))
    }

    /// Whose signatures a private key makes: origin type, and 1 to 32 bytes. For clients: a node never calls it.
    ///
    /// # Errors
    /// Every [`CallError`]; a key that is none is [`CallError::Failed`] with `invalid`.
    pub fn origin(&self, key: &[u8]) -> Result<Origin, CallError> {
        let claim = self.signature_claim()?;
        self.call(
            16 + words_of(key.len()),
            |mut request| request.set_origin(key),
            1,
            |reply| read_origin(claim, reply),
        )
    }

    fn signature_claim(&self) -> Result<&SignatureClaim, CallError> {
        match &self.manifest().claim {
            Claim::Signature(claim) => Ok(claim),
            other @ (Claim::Operators(_) | Claim::Encryption(_) | Claim::Storage(_)) => {
                Err(self.asked(&format!("it is of kind {}, not a signature type", other.kind())))
            }
        }
    }
}

/// A list of `Signed`.
fn lay_items(items: &[SignedItem<'_>], to: &mut Writer<'_>) -> Option<()> {
    let root = to.root(sizes::REQUEST, tags::VERIFY)?;
    let mut at = to.structs(root, sizes::SIGNED, items.len())?;
    for item in items {
        to.set(at, item.origin_type.into())?;
        to.set(at + 1, item.timestamp.cast_unsigned())?;
        to.data(at + 2, item.header)?;
        to.data(at + 3, &item.batch_id)?;
        to.data(at + 4, item.origin)?;
        to.data(at + 5, item.signature)?;
        at += sizes::SIGNED.0 + sizes::SIGNED.1;
    }
    Some(())
}

fn verdict(given: Result<plugin_capnp::Verdict, capnp::NotInSchema>) -> Verdict {
    match given {
        Ok(plugin_capnp::Verdict::Valid) => Verdict::Valid,
        Ok(plugin_capnp::Verdict::Malformed) => Verdict::Malformed,
        Ok(plugin_capnp::Verdict::Expired) => Verdict::Expired,
        Ok(plugin_capnp::Verdict::Untrusted) => Verdict::Untrusted,
        Ok(plugin_capnp::Verdict::Unavailable) => Verdict::Unavailable,
        // IMPORTANT: what this version does not know is never a yes.
        Ok(plugin_capnp::Verdict::Invalid) | Err(_) => Verdict::Invalid,
    }
}

/// [`read_verdicts`] of a reply that has the usual form.
pub(crate) fn quick_verdicts(count: usize, words: Words<'_>) -> Option<Vec<Verdict>> {
    let root = words.root()?;
    let verdicts = (root.u16(0) == tags::VERDICTS).then(|| root.u16s(0)).flatten()?;
    (verdicts.len() == count).then(|| verdicts.map(|number| verdict(number.try_into())).collect())
}

/// The reply to `verify` with so many items.
pub(crate) fn read_verdicts(count: usize, reply: reply::WhichReader<'_>) -> Result<Vec<Verdict>, String> {
    let reply::Verdicts(verdicts) = reply else { return Err("it has no verdicts".into()) };
    let verdicts = verdicts.map_err(|error| format!("its verdicts cannot be read: {error}"))?;
    if verdicts.len() as usize != count {
        return Err(format!("it has {} verdicts for {count} items", verdicts.len()));
    }
    Ok(verdicts.iter().map(verdict).collect())
}

/// The reply to `sign` with so many batch ids.
pub(crate) fn read_signatures(count: usize, reply: reply::WhichReader<'_>) -> Result<Vec<Vec<u8>>, String> {
    let reply::Signatures(signatures) = reply else { return Err("it has no signatures".into()) };
    let broken = |error| format!("its signatures cannot be read: {error}");
    let signatures = signatures.map_err(broken)?;
    if signatures.len() as usize != count {
        return Err(format!("it has {} signatures for {count} batch ids", signatures.len()));
    }
    signatures.iter().map(|signature| read_signature(signature.map_err(broken)?)).collect()
}

/// The reply to `origin`.
pub(crate) fn read_origin(claim: &SignatureClaim, reply: reply::WhichReader<'_>) -> Result<Origin, String> {
    let reply::Origin(origin) = reply else { return Err("it has no origin".into()) };
    let broken = |error| format!("its origin cannot be read: {error}");
    let origin = origin.map_err(broken)?;
    let (kind, value) = (origin.get_type(), origin.get_value().map_err(broken)?);
    if !claim.origin_types.contains(&kind) {
        return Err(format!("its origin is of type {kind}, which its manifest does not claim"));
    }
    origin_of(kind, value).ok_or_else(|| format!("its origin has {} bytes: 1 to 32 are right", value.len()))
}

fn origin_of(kind: u8, value: &[u8]) -> Option<Origin> {
    if kind == ETHEREUM {
        return Address::from_slice(value).ok().map(Origin::ethereum);
    }
    Origin::of_plugin(kind, value)
}

fn read_signature(signature: &[u8]) -> Result<Vec<u8>, String> {
    if signature.len() > limits::SIGNATURE_BYTES_MAX {
        let max = limits::SIGNATURE_BYTES_MAX;
        return Err(format!("a signature of {} bytes: {max} are the most", signature.len()));
    }
    Ok(signature.to_vec())
}

/// A plugin for signatures as a [`SignatureScheme`].
#[derive(Clone, Debug)]
pub struct SignaturePlugin {
    plugin: Plugin,
    claim: SignatureClaim,
}

impl SignaturePlugin {
    /// Of a plugin whose manifest claims a signature type; nothing of others.
    pub fn new(plugin: Plugin) -> Option<Self> {
        let claim = plugin.signature_claim().ok()?.clone();
        Some(Self { plugin, claim })
    }

    /// The plugin.
    pub const fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    fn verify_some(&self, items: &[SignedItem<'_>]) -> Vec<Result<(), SignatureFault>> {
        match self.plugin.verify(items) {
            Ok(verdicts) => verdicts.into_iter().map(|verdict| self.judge(verdict)).collect(),
            Err(error) => vec![Err(SignatureFault::Unavailable(error.to_string())); items.len()],
        }
    }

    fn judge(&self, verdict: Verdict) -> Result<(), SignatureFault> {
        Err(match verdict {
            Verdict::Valid => return Ok(()),
            Verdict::Invalid => SignatureFault::Invalid,
            Verdict::Malformed => SignatureFault::Malformed,
            Verdict::Expired => SignatureFault::Expired,
            Verdict::Untrusted => SignatureFault::Untrusted,
            Verdict::Unavailable => {
                SignatureFault::Unavailable(format!("plugin {} says so", self.plugin.manifest().name))
            }
        })
    }
}

impl SignatureScheme for SignaturePlugin {
    fn signature_type(&self) -> SignatureType {
        SignatureType(self.claim.signature_type)
    }

    fn speaks_for(&self, origin_type: u8) -> bool {
        self.claim.origin_types.contains(&origin_type)
            && (origin_type != ETHEREUM || self.plugin.grants().origin_ethereum)
    }

    fn verify(&self, items: &[SignedHeader<'_>]) -> Vec<Result<(), SignatureFault>> {
        let headers: Vec<_> = items.iter().map(|item| item.header.encode()).collect();
        let signed = items.iter().zip(&headers).map(|(item, header)| SignedItem {
            header,
            batch_id: sha256(header),
            origin_type: item.header.origin.kind(),
            origin: item.header.origin.value(),
            timestamp: item.header.timestamp_max,
            signature: item.signature,
        });
        calls(&signed.collect::<Vec<_>>()).flat_map(|items| self.verify_some(items)).collect()
    }
}

/// Items by the call that they go in.
fn calls<'a>(mut items: &'a [SignedItem<'a>]) -> impl Iterator<Item = &'a [SignedItem<'a>]> {
    std::iter::from_fn(move || {
        let mut words = 0;
        let fit = items.iter().take(ITEMS_PER_CALL).take_while(|item| {
            words += item.words();
            words <= WORDS_PER_CALL
        });
        // One goes alone, however long it is.
        let count = fit.count().max(1).min(items.len());
        let call;
        (call, items) = items.split_at(count);
        (!call.is_empty()).then_some(call)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_hold_all_items_in_their_order_and_none_more_than_it_may() {
        let long = vec![0; limits::SIGNATURE_BYTES_MAX];
        let lengths = |items: &[SignedItem<'_>]| calls(items).map(<[_]>::len).collect::<Vec<_>>();
        let item = |signature| SignedItem {
            header: &[0; 203],
            batch_id: [0; 32],
            origin_type: 16,
            origin: &[0; 32],
            timestamp: 0,
            signature,
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&vec![item(&long[..64]); 150]), [64, 64, 22]);
        assert_eq!(lengths(&vec![item(&long); 40]), [15, 15, 10]);
        let longer = vec![0; 1 << 20];
        assert_eq!(lengths(&[item(&longer), item(&longer), item(&[])]), [1, 1, 1]);
    }
}

/// A private key of a plugin's type, which signs.
#[derive(Clone)]
pub struct PluginSigner {
    plugin: Plugin,
    signature_type: SignatureType,
    origin: Origin,
    key: Arc<Zeroizing<Vec<u8>>>,
}

impl PluginSigner {
    /// Of a key in the form that the plugin's type says.
    ///
    /// # Errors
    /// Every [`CallError`]; a key that is none is [`CallError::Failed`] with `invalid`.
    pub fn new(plugin: Plugin, key: Vec<u8>) -> Result<Self, CallError> {
        let key = Zeroizing::new(key);
        let signature_type = SignatureType(plugin.signature_claim()?.signature_type);
        let origin = plugin.origin(&key)?;
        Ok(Self { plugin, signature_type, origin, key: Arc::new(key) })
    }
}

impl fmt::Debug for PluginSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginSigner({} by {:?})", self.origin, self.plugin)
    }
}

impl SchemeSigner for PluginSigner {
    fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    fn origin(&self) -> Origin {
        self.origin
    }

    fn sign(&self, id: BatchId) -> Result<Vec<u8>, SignatureFault> {
        let signed = self.plugin.sign(&self.key, &[id.0]);
        let none = || SignatureFault::Unavailable("the plugin gave no signature".into());
        signed.map_err(|error| SignatureFault::Unavailable(error.to_string()))?.pop().ok_or_else(none)
    }
}
