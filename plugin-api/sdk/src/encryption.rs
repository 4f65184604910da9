use crate::{Failure, Host, Instance, instance::not_known, signature::check_count};
use mainstem_plugin_abi::plugin_capnp::{OpenFault, plain, reply, request, sealed};
use std::marker::PhantomData;

/// A plugin for encryption by one type. Only clients call it.
///
/// It must depend on what it is given alone: the same call has the same reply, at any instance. Randomness comes with the call.
pub trait Encryption {
    /// Seals contents with one key: as many as items, in their order.
    ///
    /// # Errors
    /// `invalid` for a key that is none of this type.
    fn seal(host: &Host<'_>, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, Failure>;

    /// Opens what was sealed with one key: as many answers as items, in their order, each for itself.
    ///
    /// # Errors
    /// `invalid` for a key that is none of this type. What does not open is an [`OpenFault`].
    fn open(host: &Host<'_>, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, Failure>;

    /// Wraps a content key for each of the recipients, with 32 random bytes for each.
    ///
    /// # Errors
    /// `invalid` for a recipient that is none. Without this method, `unsupported`.
    fn wrap(
        host: &Host<'_>,
        key: &[u8],
        recipients: &[&[u8]],
        random: &[[u8; 32]],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let _ = (host, key, recipients, random);
        Err(Failure::unsupported("this plugin does not wrap keys"))
    }

    /// The content key that was wrapped for the holder of a private key.
    ///
    /// # Errors
    /// `invalid` for what was not wrapped for this key. Without this method, `unsupported`.
    fn unwrap(host: &Host<'_>, private_key: &[u8], wrapped: &[u8]) -> Result<Vec<u8>, Failure> {
        let _ = (host, private_key, wrapped);
        Err(Failure::unsupported("this plugin does not wrap keys"))
    }
}

/// A content, or why there is none.
pub type Opened = Result<Vec<u8>, OpenFault>;

/// What is to be sealed, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// Drawn at random for this item alone: take as many bytes as needed.
    pub nonce: &'a [u8; 32],
    /// Bound to the content, and not sealed.
    pub associated: &'a [u8],
    /// The content.
    pub content: &'a [u8],
}

/// What was sealed, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// As it was sealed with.
    pub associated: &'a [u8],
    /// What `seal` gave.
    pub sealed: &'a [u8],
}

/// An instance of a plugin for encryption.
#[derive(Debug)]
pub struct EncryptionModule<E>(PhantomData<E>);

impl<E> Default for EncryptionModule<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Encryption> Instance for EncryptionModule<E> {
    fn answer(&mut self, host: &Host<'_>, request: request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        match request.which() {
            Ok(request::Seal(seal)) => {
                let seal = seal?;
                let items = seal.get_items()?.iter().map(Plain::read).collect::<Result<Vec<_>, _>>()?;
                let sealed = E::seal(host, seal.get_key()?, &items)?;
                check_count("sealed contents", sealed.len(), items.len())?;
                Ok(write_datas(&sealed, |reply, count| reply.init_sealed(count)))
            }
            Ok(request::Open(open)) => {
                let open = open?;
                let items = open.get_items()?.iter().map(Sealed::read).collect::<Result<Vec<_>, _>>()?;
                let opened = E::open(host, open.get_key()?, &items)?;
                check_count("opened contents", opened.len(), items.len())?;
                Ok(write_opened(&opened))
            }
            Ok(request::Wrap(wrap)) => {
                let wrap = wrap?;
                let recipients = wrap.get_recipients()?.iter().collect::<Result<Vec<_>, _>>()?;
                let (random, rest) = wrap.get_random()?.as_chunks::<32>();
                if random.len() != recipients.len() || !rest.is_empty() {
                    return Err(Failure::malformed("wrapping takes 32 random bytes for each recipient"));
                }
                let wrapped = E::wrap(host, wrap.get_key()?, &recipients, random)?;
                check_count("wrapped keys", wrapped.len(), recipients.len())?;
                Ok(write_datas(&wrapped, |reply, count| reply.init_wrapped(count)))
            }
            Ok(request::Unwrap(unwrap)) => {
                let unwrap = unwrap?;
                let key = E::unwrap(host, unwrap.get_private_key()?, unwrap.get_wrapped()?)?;
                let words = 8 + key.len() / 8;
                Ok(mainstem_plugin_abi::write::<reply::Owned>(words, |mut reply: reply::Builder<'_>| {
                    reply.set_unwrapped(&key);
                }))
            }
            Ok(
                request::Start(_)
                | request::Verify(_)
                | request::Sign(_)
                | request::Origin(_)
                | request::OnBatch(_)
                | request::OnWatermark(_)
                | request::Snapshot(())
                | request::Restore(_)
                | request::Append(_)
                | request::Sync(())
                | request::Query(_)
                | request::Fetch(_)
                | request::Trim(_),
            )
            | Err(_) => Err(not_known("for encryption")),
        }
    }
}

impl<'a> Plain<'a> {
    fn read(from: plain::Reader<'a>) -> Result<Self, Failure> {
        let nonce = from.get_nonce()?;
        let nonce = nonce
            .try_into()
            .map_err(|_| Failure::malformed(format!("a nonce has {} bytes; it must be 32", nonce.len())))?;
        Ok(Self { nonce, associated: from.get_associated()?, content: from.get_content()? })
    }
}

impl<'a> Sealed<'a> {
    fn read(from: sealed::Reader<'a>) -> Result<Self, Failure> {
        Ok(Self { associated: from.get_associated()?, sealed: from.get_sealed()? })
    }
}

fn write_datas(
    datas: &[Vec<u8>],
    init: impl for<'a> FnOnce(reply::Builder<'a>, u32) -> capnp::data_list::Builder<'a>,
) -> Vec<u8> {
    let words = 8 + datas.iter().map(|data| 2 + data.len() / 8).sum::<usize>();
    mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        let mut to = init(reply, datas.len() as u32);
        for (index, data) in datas.iter().enumerate() {
            to.set(index as u32, data);
        }
    })
}

fn write_opened(opened: &[Opened]) -> Vec<u8> {
    let words = 8 + opened.iter().map(|it| 4 + it.as_ref().map_or(0, Vec::len) / 8).sum::<usize>();
    mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        let mut to = reply.init_opened(opened.len() as u32);
        for (index, opened) in opened.iter().enumerate() {
            let mut to = to.reborrow().get(index as u32);
            match opened {
                Ok(content) => to.set_content(content),
                Err(fault) => to.set_fault(*fault),
            }
        }
    })
}
