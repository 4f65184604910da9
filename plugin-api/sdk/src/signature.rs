use crate::{Failure, Host, Instance, Verdict, instance::not_known};
use mainstem_plugin_abi::plugin_capnp::{reply, request, signed};
use std::marker::PhantomData;

/// A plugin for signatures of one type.
///
/// Its verdicts must depend on the item alone: it is asked at any instance, in any order.
pub trait Signature {
    /// Says of each item whether its signature is its origin's: as many verdicts as items, in their order.
    ///
    /// # Errors
    /// What keeps it from judging at all, such as a host call that is denied. A bad signature is a verdict.
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure>;

    /// Signs each batch id with a private key, in a client: as many signatures as ids, in their order.
    ///
    /// # Errors
    /// `invalid` for a key that is none of this type. Without this method, `unsupported`.
    fn sign(host: &Host<'_>, key: &[u8], batch_ids: &[&[u8; 32]]) -> Result<Vec<Vec<u8>>, Failure> {
        let _ = (host, key, batch_ids);
        Err(Failure::unsupported("this plugin does not sign: sign with the tool that made the key"))
    }

    /// Whose signatures a private key makes, in a client. A plugin that signs answers it.
    ///
    /// # Errors
    /// `invalid` for a key that is none of this type. Without this method, `unsupported`.
    fn origin(host: &Host<'_>, key: &[u8]) -> Result<Origin, Failure> {
        let _ = (host, key);
        Err(Failure::unsupported("this plugin does not sign: the tool that made the key knows whose it is"))
    }
}

/// Whose signatures a key makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// One that the manifest claims.
    pub origin_type: u8,
    /// 1 to 32 bytes.
    pub value: Vec<u8>,
}

/// A header and its signature, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The header's bytes.
    pub header: &'a [u8],
    /// SHA-256 of the header; what is signed by convention.
    pub batch_id: &'a [u8; 32],
    /// One that the manifest claims.
    pub origin_type: u8,
    /// 1 to 32 bytes.
    pub origin: &'a [u8],
    /// The greatest of the batch's events', in ms since 1970.
    pub timestamp: i64,
    /// Up to 16,384 bytes.
    pub signature: &'a [u8],
}

/// An instance of a plugin for signatures.
#[derive(Debug)]
pub struct SignatureModule<S>(PhantomData<S>);

impl<S> Default for SignatureModule<S> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<S: Signature> Instance for SignatureModule<S> {
    fn answer(&mut self, host: &Host<'_>, request: request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        match request.which() {
            Ok(request::Verify(items)) => {
                let items = items?.iter().map(Signed::read).collect::<Result<Vec<_>, _>>()?;
                let verdicts = S::verify(host, &items)?;
                check_count("verdicts", verdicts.len(), items.len())?;
                Ok(write_verdicts(&verdicts))
            }
            Ok(request::Sign(sign)) => {
                let sign = sign?;
                let ids = sign.get_batch_ids()?;
                let ids = ids.iter().map(|id| batch_id(id?)).collect::<Result<Vec<_>, _>>()?;
                let signatures = S::sign(host, sign.get_key()?, &ids)?;
                check_count("signatures", signatures.len(), ids.len())?;
                Ok(write_signatures(&signatures))
            }
            Ok(request::Origin(key)) => Ok(write_origin(&S::origin(host, key?)?)),
            Ok(
                request::Start(_)
                | request::OnBatch(_)
                | request::OnWatermark(_)
                | request::Snapshot(())
                | request::Restore(_)
                | request::Seal(_)
                | request::Open(_)
                | request::Wrap(_)
                | request::Unwrap(_)
                | request::Append(_)
                | request::Sync(())
                | request::Query(_)
                | request::Fetch(_)
                | request::Trim(_),
            )
            | Err(_) => Err(not_known("for signatures")),
        }
    }
}

impl<'a> Signed<'a> {
    fn read(from: signed::Reader<'a>) -> Result<Self, Failure> {
        Ok(Self {
            header: from.get_header()?,
            batch_id: batch_id(from.get_batch_id()?)?,
            origin_type: from.get_origin_type(),
            origin: from.get_origin()?,
            timestamp: from.get_timestamp(),
            signature: from.get_signature()?,
        })
    }
}

fn batch_id(bytes: &[u8]) -> Result<&[u8; 32], Failure> {
    bytes.try_into().map_err(|_| {
        Failure::malformed(format!("a batch id has {} bytes; it must be the 32 of a SHA-256", bytes.len()))
    })
}

pub(crate) fn check_count(of: &str, given: usize, asked: usize) -> Result<(), Failure> {
    if given == asked {
        return Ok(());
    }
    Err(Failure::internal(format!(
        "the plugin gave {given} {of} for {asked} items; it must give one for each"
    )))
}

fn write_verdicts(verdicts: &[Verdict]) -> Vec<u8> {
    mainstem_plugin_abi::write::<reply::Owned>(8 + verdicts.len() / 4, |reply: reply::Builder<'_>| {
        let mut to = reply.init_verdicts(verdicts.len() as u32);
        for (index, verdict) in verdicts.iter().enumerate() {
            to.set(index as u32, *verdict);
        }
    })
}

fn write_origin(origin: &Origin) -> Vec<u8> {
    mainstem_plugin_abi::write::<reply::Owned>(16, |reply: reply::Builder<'_>| {
        let mut to = reply.init_origin();
        to.set_type(origin.origin_type);
        to.set_value(&origin.value);
    })
}

fn write_signatures(signatures: &[Vec<u8>]) -> Vec<u8> {
    let words = 8 + signatures.iter().map(|signature| 2 + signature.len() / 8).sum::<usize>();
    mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        let mut to = reply.init_signatures(signatures.len() as u32);
        for (index, signature) in signatures.iter().enumerate() {
            to.set(index as u32, signature);
        }
    })
}
