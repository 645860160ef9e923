//! Keys in the store, sealed by cert-authority: the datastore and its snapshots hold nothing that opens them.

use std::{future::Future, time::Duration};

use sextant_identity::Channel;
use sextant_proto::certauthority::{SealRequest, UnsealRequest, seal_client::SealClient};
use tokio::time::timeout;
use tonic::{Response, Status};
use zeroize::Zeroizing;

use super::{Kv, PREFIX};
use crate::error::Error;

/// How long cert-authority may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Seals and opens small secrets. A secret is opened only with the purpose that it was sealed for.
pub trait Seal: Clone + Send + Sync + 'static {
    /// Seals.
    fn seal(
        &self,
        plain: &[u8],
        purpose: &str,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + Send;

    /// Opens.
    fn unseal(
        &self,
        sealed: &[u8],
        purpose: &str,
    ) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, Error>> + Send;
}

/// cert-authority.
#[derive(Clone, Debug)]
pub struct CertAuthoritySeal(SealClient<Channel>);

impl CertAuthoritySeal {
    /// Over this channel.
    pub fn new(channel: Channel) -> Self {
        Self(SealClient::new(channel))
    }
}

impl Seal for CertAuthoritySeal {
    async fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, Error> {
        let plaintext = plain.to_vec().into();
        let request = SealRequest {
            plaintext,
            purpose: purpose.to_owned(),
        };
        let mut client = self.0.clone();
        Ok(within("sealing a key", client.seal(request))
            .await?
            .sealed
            .into())
    }

    async fn unseal(&self, sealed: &[u8], purpose: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let sealed = sealed.to_vec().into();
        let request = UnsealRequest {
            sealed,
            purpose: purpose.to_owned(),
        };
        let mut client = self.0.clone();
        let opened = within("opening a key", client.unseal(request)).await?;
        Ok(Zeroizing::new(opened.plaintext.into()))
    }
}

async fn within<T>(
    action: &'static str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Error::Seal {
            action,
            reason: status.message().to_owned(),
        }),
        Err(_) => Err(Error::Seal {
            action,
            reason: format!("no answer within {DEADLINE:?}"),
        }),
    }
}

/// Secrets of this service, each made once.
#[derive(Clone, Debug)]
pub struct Secrets<K, S> {
    kv: K,
    seal: S,
}

impl<K: Kv, S: Seal> Secrets<K, S> {
    /// Over this store and seal.
    pub fn new(kv: K, seal: S) -> Self {
        Self { kv, seal }
    }

    /// The secret `name`. When there is none yet, `make` makes it; of several replicas that do so at once one wins,
    /// and all return that one's.
    pub async fn get_or_create(
        &self,
        name: &str,
        make: impl Fn() -> Result<Zeroizing<Vec<u8>>, Error>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let key = format!("{PREFIX}keys/{name}");
        if let Some(found) = self.kv.get(&key).await? {
            return self.seal.unseal(&found.value, name).await;
        }
        let fresh = make()?;
        let sealed = self.seal.seal(&fresh, name).await?;
        if self.kv.swap(&key, 0, Some(sealed)).await? {
            tracing::info!(name, "made a new key");
            return Ok(fresh);
        }
        let found = self.kv.get(&key).await?;
        let found = found.ok_or_else(|| Error::Contention(key.clone()))?;
        self.seal.unseal(&found.value, name).await
    }
}
