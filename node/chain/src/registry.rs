use crate::{
    BlockTag, Call, ChainError, Deployment, Receipt, Rpc, Wallet, contracts::abi, record::read_record,
};
use ethers_core::{
    abi::{AbiDecode, AbiEncode},
    types::H160,
};
use mainstem_crypto::{Address, Hash, keccak256_of};
use mainstem_model::{Grant, Network, Right, StreamId, StreamRecord};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The contracts of streams: reads them directly and changes them with a wallet's transactions.
///
/// For deciding about events use the view of a [`Follower`](crate::Follower), which needs no request.
#[derive(Clone, Debug)]
pub struct StreamRegistry {
    rpc: Rpc,
    network: Network,
    from_block: u64,
    /// Block of the newest receipt of our own. Reads wait for it: an endpoint that lags would answer as if nothing had been
    /// sent, and a right that was just revoked would be written back.
    seen: Arc<AtomicU64>,
}

/// A stream to be created.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewStream {
    /// JSON, at most 4096 bytes.
    pub metadata: String,
    /// `path` of the alias `0xowner/path`, to list it.
    pub path: Option<String>,
    /// First grants; the owner holds every right anyway.
    pub grants: Vec<(Address, Grant)>,
    /// With the owner it makes the id. `None`: from the path if there is one, so that the id can be known by it, else
    /// unlike any other.
    pub salt: Option<Hash>,
}

impl NewStream {
    fn salt(&self) -> Hash {
        self.salt.unwrap_or_else(|| match &self.path {
            Some(path) => keccak256_of(&[b"mainstem/path", path.as_bytes()]),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                keccak256_of(&[b"mainstem/time", &since.as_nanos().to_be_bytes(), self.metadata.as_bytes()])
            }
        })
    }
}

/// How long an endpoint may take to have the block of our own last receipt.
const LAG_MAX: Duration = Duration::from_secs(20);
/// Wait between two looks whether it has.
const LAG_POLL: Duration = Duration::from_millis(100);
/// How often rights that others change at the same time are changed again.
const CHANGES_MAX: u32 = 3;

/// Longest metadata that the contract takes, in bytes.
pub const METADATA_BYTES_MAX: usize = 4096;
/// Longest path that the contract takes, in bytes.
pub const PATH_BYTES_MAX: usize = 256;

impl StreamRegistry {
    /// The streams of a deployment.
    pub fn new(rpc: Rpc, deployment: &Deployment) -> Self {
        let seen = Arc::new(AtomicU64::new(0));
        Self { rpc, network: deployment.network(), from_block: deployment.block, seen }
    }

    /// The network of these streams.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    // ------------------------------------------------------------ creation

    /// Creates a stream; gives its id and the receipt.
    ///
    /// # Errors
    /// [`ChainError::Argument`] for what the contract would refuse by its shape; as [`Wallet::send`].
    pub async fn create_stream(
        &self,
        wallet: &Wallet,
        stream: &NewStream,
    ) -> Result<(StreamId, Receipt), ChainError> {
        let (id, call) = self.prepare_stream(wallet.address(), stream).await?;
        Ok((id, self.send(wallet, call).await?))
    }

    /// The record of a stream that was just created, from what was sent: no endpoint needs to know it yet. Where none tells
    /// the block's time, it is this machine's.
    pub async fn created(
        &self,
        owner: Address,
        id: StreamId,
        stream: &NewStream,
        receipt: &Receipt,
    ) -> StreamRecord {
        let (partitions, storage_days) = StreamRecord::settings(&stream.metadata);
        let told = receipt.logs.iter().find_map(|log| log.block_timestamp_s);
        let created_at = match told {
            Some(at_s) => Some(at_s),
            None => match self.rpc.block(BlockTag::Number(receipt.block_number)).await {
                Ok(Some(block)) => Some(block.timestamp_s),
                Ok(None) | Err(_) => None,
            },
        };
        StreamRecord {
            id,
            owner,
            metadata: stream.metadata.clone(),
            partitions,
            storage_days,
            path: stream.path.clone(),
            key_epoch: 0,
            created_at: created_at.unwrap_or_else(|| {
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
            }),
        }
    }

    /// The id that a stream will have, and the call that creates it.
    ///
    /// # Errors
    /// As [`StreamRegistry::create_stream`]; as [`Rpc::read`].
    pub async fn prepare_stream(
        &self,
        owner: Address,
        stream: &NewStream,
    ) -> Result<(StreamId, Call), ChainError> {
        check_metadata(&stream.metadata)?;
        stream.path.as_deref().map_or(Ok(()), check_path)?;
        let grants = stream.grants.iter().map(spec).collect::<Result<_, _>>()?;
        let salt = stream.salt();
        let id = self.predict(owner, salt).await?;
        let call = abi::CreateCall {
            json: stream.metadata.clone(),
            salt,
            path: stream.path.clone().unwrap_or_default(),
            grants,
        };
        Ok((id, Call::to(self.network.registry, call.encode())))
    }

    /// The id of `owner`'s stream with `salt`, created or not.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn predict(&self, owner: Address, salt: Hash) -> Result<StreamId, ChainError> {
        let output = self.ask(abi::PredictCall { owner: H160(owner.0), salt }.encode()).await?;
        Ok(StreamId(address(read(&output)?)))
    }

    // ------------------------------------------------------------ changes

    /// Replaces the metadata; takes the right to edit.
    ///
    /// # Errors
    /// As [`StreamRegistry::create_stream`].
    pub async fn set_metadata(
        &self,
        wallet: &Wallet,
        id: StreamId,
        metadata: &str,
    ) -> Result<Receipt, ChainError> {
        check_metadata(metadata)?;
        self.tell(wallet, id, abi::SetMetaCall { json: metadata.to_owned() }.encode()).await
    }

    /// Sets the rights of one account, whole; [`Address::ZERO`] is everyone. Takes the right to grant; only the owner
    /// may change flags.
    ///
    /// # Errors
    /// As [`StreamRegistry::create_stream`].
    pub async fn grant(
        &self,
        wallet: &Wallet,
        id: StreamId,
        who: Address,
        grant: Grant,
    ) -> Result<Receipt, ChainError> {
        let spec = spec(&(who, grant))?;
        let call = abi::GrantCall {
            who: spec.who,
            sub_until: spec.sub_until,
            pub_until: spec.pub_until,
            flags: spec.flags,
        };
        self.tell(wallet, id, call.encode()).await
    }

    /// Sets the rights of several accounts in one transaction.
    ///
    /// # Errors
    /// As [`StreamRegistry::create_stream`].
    pub async fn grant_many(
        &self,
        wallet: &Wallet,
        id: StreamId,
        grants: &[(Address, Grant)],
    ) -> Result<Receipt, ChainError> {
        let grants = grants.iter().map(spec).collect::<Result<_, _>>()?;
        self.tell(wallet, id, abi::GrantManyCall { grants }.encode()).await
    }

    /// Changes the rights of several accounts, each from what it has to what `change` makes of it, in one transaction.
    ///
    /// The contract keeps an account's rights as one. So they are read at or after the block of our own last receipt, and
    /// again as they were before the transaction: had somebody else changed them meanwhile, that is taken in and sent again.
    ///
    /// # Errors
    /// As [`StreamRegistry::grant`]; [`ChainError::Moved`] when others change them again and again.
    pub async fn change(
        &self,
        wallet: &Wallet,
        id: StreamId,
        accounts: &[Address],
        change: impl Fn(Address, Grant) -> Grant,
    ) -> Result<Vec<(Address, Grant)>, ChainError> {
        let changed = |bases: &[Grant]| -> Vec<(Address, Grant)> {
            accounts.iter().zip(bases).map(|(who, base)| (*who, change(*who, *base))).collect()
        };
        let head = self.settled().await?;
        let mut assumed = self.permissions_at(id, accounts, head).await?;
        let mut wanted = changed(&assumed);
        for _ in 0..CHANGES_MAX {
            let receipt = match &wanted[..] {
                [] => return Ok(wanted),
                [(who, Grant::NONE)] => self.revoke(wallet, id, *who).await?,
                [(who, grant)] => self.grant(wallet, id, *who, *grant).await?,
                many => self.grant_many(wallet, id, many).await?,
            };
            // IMPORTANT: it was sent and mined: no failure of looking again may look as if it was not.
            let before = match self.permissions_before(id, accounts, &receipt).await {
                Ok(before) => before,
                Err(error) => {
                    tracing::warn!(%error, "could not look whether rights were changed meanwhile");
                    return Ok(wanted);
                }
            };
            let corrected = changed(&before);
            if before == assumed || corrected == wanted {
                return Ok(wanted);
            }
            tracing::info!(stream = %id, "rights were changed meanwhile; changing them again");
            assumed = wanted.iter().map(|(_, grant)| *grant).collect();
            wanted = corrected;
        }
        Err(ChainError::Moved(format!("the rights of {id} are changed by others again and again")))
    }

    /// As they were before a transaction.
    async fn permissions_before(
        &self,
        id: StreamId,
        accounts: &[Address],
        receipt: &Receipt,
    ) -> Result<Vec<Grant>, ChainError> {
        self.settled().await?;
        self.permissions_at(id, accounts, receipt.block_number.saturating_sub(1)).await
    }

    async fn permissions_at(
        &self,
        id: StreamId,
        accounts: &[Address],
        block: u64,
    ) -> Result<Vec<Grant>, ChainError> {
        let mut grants = Vec::with_capacity(accounts.len());
        for who in accounts {
            grants.push(self.permission_at(id, *who, BlockTag::Number(block)).await?);
        }
        Ok(grants)
    }

    /// Takes all rights of an account. Everybody may drop their own.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn revoke(&self, wallet: &Wallet, id: StreamId, who: Address) -> Result<Receipt, ChainError> {
        self.tell(wallet, id, abi::RevokeCall { who: H160(who.0) }.encode()).await
    }

    /// Removes a stream for good; takes the right to delete.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn remove(&self, wallet: &Wallet, id: StreamId) -> Result<Receipt, ChainError> {
        self.tell(wallet, id, abi::RemoveCall.encode()).await
    }

    /// Publishes the wallet's own public key for sealed events. Kind 0 is x25519; 2 and 3 are secp256k1 with the parity
    /// of y.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn set_key(
        &self,
        wallet: &Wallet,
        id: StreamId,
        kind: u8,
        key: Hash,
    ) -> Result<Receipt, ChainError> {
        self.tell(wallet, id, abi::SetKeyCall { kind, key }.encode()).await
    }

    /// Begins a new key epoch: publishers must draw new content keys. Publishers and granters may.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn bump_key_epoch(&self, wallet: &Wallet, id: StreamId) -> Result<Receipt, ChainError> {
        self.tell(wallet, id, abi::BumpKeyEpochCall.encode()).await
    }

    /// Offers the ownership to somebody; [`Address::ZERO`] takes the offer back.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn offer_ownership(
        &self,
        wallet: &Wallet,
        id: StreamId,
        to: Address,
    ) -> Result<Receipt, ChainError> {
        self.tell(wallet, id, abi::OfferOwnershipCall { to: H160(to.0) }.encode()).await
    }

    /// Takes an offered ownership. The former owner loses every right.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn accept_ownership(&self, wallet: &Wallet, id: StreamId) -> Result<Receipt, ChainError> {
        self.tell(wallet, id, abi::AcceptOwnershipCall.encode()).await
    }

    /// Lists a stream under the alias `0xowner/path`.
    ///
    /// # Errors
    /// As [`StreamRegistry::create_stream`].
    pub async fn list(&self, wallet: &Wallet, id: StreamId, path: &str) -> Result<Receipt, ChainError> {
        check_path(path)?;
        let call = abi::ListCall { stream: H160(id.0.0), path: path.to_owned() };
        self.send(wallet, Call::to(self.network.registry, call.encode())).await
    }

    /// Takes a stream's alias away.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn unlist(&self, wallet: &Wallet, id: StreamId) -> Result<Receipt, ChainError> {
        let call = abi::UnlistCall { stream: H160(id.0.0) };
        self.send(wallet, Call::to(self.network.registry, call.encode())).await
    }

    /// Revokes a delegation of the wallet, by [`Delegation::digest`](mainstem_model::Delegation::digest), for good.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn revoke_delegation(&self, wallet: &Wallet, digest: Hash) -> Result<Receipt, ChainError> {
        let call = abi::RevokeDelegationCall { delegation: digest };
        self.send(wallet, Call::to(self.network.registry, call.encode())).await
    }

    // ------------------------------------------------------------ reads

    /// A stream as its contract has it now. `None` if it is not of this registry or was removed. The metadata is not in
    /// the contract's state: it is read from its newest `Meta` event, so this needs an endpoint that keeps logs.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn stream(&self, id: StreamId) -> Result<Option<StreamRecord>, ChainError> {
        self.settle().await?;
        read_record(self, id, self.from_block).await
    }

    /// The stream that `owner` has listed under `path`.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn alias(&self, owner: Address, path: &str) -> Result<Option<StreamId>, ChainError> {
        self.settle().await?;
        let call = abi::StreamAtCall { owner: H160(owner.0), path: path.to_owned() };
        let found = address(read(&self.ask(call.encode()).await?)?);
        Ok((found != Address::ZERO).then_some(StreamId(found)))
    }

    /// The rights of one account, as granted to it alone.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn permission(&self, id: StreamId, who: Address) -> Result<Grant, ChainError> {
        self.settle().await?;
        self.permission_at(id, who, BlockTag::Latest).await
    }

    async fn permission_at(&self, id: StreamId, who: Address, block: BlockTag) -> Result<Grant, ChainError> {
        let call = abi::PermissionCall { who: H160(who.0) }.encode();
        let output = self.rpc.call(id.0, &call, block).await?;
        let (subscribe_until, publish_until, flags): (u64, u64, u8) = read(&output)?;
        Ok(Grant { subscribe_until, publish_until, flags })
    }

    /// Whether an account holds a right now, by an own grant or by everyone's.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn can(&self, id: StreamId, who: Address, right: Right) -> Result<bool, ChainError> {
        self.settle().await?;
        let call = abi::CanCall { who: H160(who.0), right: right as u8 };
        read(&self.ask_stream(id, call.encode()).await?)
    }

    /// The public key that an account has published for a stream's sealed events: kind and key.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn key(&self, id: StreamId, who: Address) -> Result<Option<(u8, Hash)>, ChainError> {
        let (kind, key): (u8, Hash) =
            read(&self.ask_stream(id, abi::KeysCall { who: H160(who.0) }.encode()).await?)?;
        Ok((key != [0; 32]).then_some((kind, key)))
    }

    /// Whether a wallet has revoked a delegation.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn is_revoked(&self, wallet: Address, digest: Hash) -> Result<bool, ChainError> {
        let call = abi::IsRevokedCall { wallet: H160(wallet.0), delegation: digest };
        read(&self.ask(call.encode()).await?)
    }

    // ------------------------------------------------------------ means

    pub(crate) const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    pub(crate) async fn ask(&self, data: Vec<u8>) -> Result<Vec<u8>, ChainError> {
        self.rpc.call(self.network.registry, &data, BlockTag::Latest).await
    }

    pub(crate) async fn ask_stream(&self, id: StreamId, data: Vec<u8>) -> Result<Vec<u8>, ChainError> {
        self.rpc.call(id.0, &data, BlockTag::Latest).await
    }

    async fn tell(&self, wallet: &Wallet, id: StreamId, data: Vec<u8>) -> Result<Receipt, ChainError> {
        self.send(wallet, Call::to(id.0, data)).await
    }

    async fn send(&self, wallet: &Wallet, call: Call) -> Result<Receipt, ChainError> {
        let receipt = wallet.send(call).await?;
        self.seen.fetch_max(receipt.block_number, Ordering::Relaxed);
        Ok(receipt)
    }

    /// Waits until the chain has the block of our own last receipt, if there is one.
    async fn settle(&self) -> Result<(), ChainError> {
        if self.seen.load(Ordering::Relaxed) > 0 {
            self.settled().await?;
        }
        Ok(())
    }

    /// The same; gives the newest block.
    async fn settled(&self) -> Result<u64, ChainError> {
        let seen = self.seen.load(Ordering::Relaxed);
        let until = Instant::now() + LAG_MAX;
        loop {
            let head = self.rpc.block_number().await?;
            if head >= seen {
                return Ok(head);
            }
            if Instant::now() >= until {
                return Err(ChainError::Moved(format!("it had block {seen} and now ends at {head}")));
            }
            tokio::time::sleep(LAG_POLL).await;
        }
    }
}

/// Reads what a contract answered.
pub(crate) fn read<T: AbiDecode>(output: &[u8]) -> Result<T, ChainError> {
    T::decode(output).map_err(|_| {
        ChainError::Argument("there is no contract of ours at this address on this chain".to_owned())
    })
}

pub(crate) const fn address(address: H160) -> Address {
    Address(address.0)
}

fn spec((who, grant): &(Address, Grant)) -> Result<abi::GrantSpec, ChainError> {
    if grant.subscribe_until > Grant::FOREVER || grant.publish_until > Grant::FOREVER {
        return Err(ChainError::Argument(format!(
            "a right ends at a Unix second up to {}, which means never",
            Grant::FOREVER
        )));
    }
    Ok(abi::GrantSpec {
        who: H160(who.0),
        sub_until: grant.subscribe_until,
        pub_until: grant.publish_until,
        flags: grant.flags,
    })
}

fn check_metadata(metadata: &str) -> Result<(), ChainError> {
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(ChainError::Argument(format!(
            "the metadata has {} bytes, at most {METADATA_BYTES_MAX} are allowed",
            metadata.len()
        )));
    }
    match serde_json::from_str::<serde_json::Value>(metadata) {
        Ok(serde_json::Value::Object(_)) => Ok(()),
        _ => Err(ChainError::Argument("the metadata is not a JSON object".to_owned())),
    }
}

fn check_path(path: &str) -> Result<(), ChainError> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Err(ChainError::Argument(format!(
            "the path has {} bytes, 1 to {PATH_BYTES_MAX} are allowed",
            path.len()
        )));
    }
    Ok(())
}
