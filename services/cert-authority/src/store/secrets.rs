//! State and seal key in Secrets of the hosting cluster, which all replicas share.
//!
//! `<name>-seal` has the seal key and `<name>-keyring` the sealed keyring; each is created once, and who comes second
//! reads the first one's. `<name>-state` says how far things have come: the keyring is wanted, then made; the bootstrap
//! is complete. It is there before the keyring, so a keyring without it, or without its keyring, was lost by somebody.

use super::issued;
use super::state::{KEYRING, MARKER, SEAL_KEY, Seal, State, seal_key};
use crate::domain::aead;
use crate::error::{Error, KeyringProblem};
use sextant_hosting::{Client, Metadata, Secret, Value};
use sextant_kit::backoff::Backoff;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Key of `<name>-state` that says how far the keyring is.
const PROGRESS: &str = "keyring";
const WANTED: &[u8] = b"wanted";
const MADE: &[u8] = b"made";
/// A change is tried so often while others change the same.
const ATTEMPTS: usize = 5;

/// State in Secrets.
#[derive(Debug)]
pub struct SecretState {
    client: Client,
    keyring: String,
    state: String,
    log: PathBuf,
}

/// The seal key in a Secret.
#[derive(Debug)]
pub struct SecretSeal {
    client: Client,
    name: String,
}

impl SecretState {
    /// Of the control plane `name`. A log in the folder `log`, too, proves that there was a keyring.
    pub fn new(client: Client, name: &str, log: &Path) -> Self {
        Self {
            client,
            keyring: format!("{name}-keyring"),
            state: format!("{name}-state"),
            log: log.to_owned(),
        }
    }

    async fn progress(&self) -> Result<Option<Secret>, Error> {
        Ok(self.client.get(&self.state).await?)
    }

    fn state_lost(&self) -> Error {
        KeyringProblem::StateLost {
            state: self.state.clone(),
            keyring: self.keyring.clone(),
        }
        .into()
    }
}

impl SecretSeal {
    /// Of the control plane `name`.
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: format!("{name}-seal"),
        }
    }
}

#[tonic::async_trait]
impl State for SecretState {
    async fn had_keyring(&self) -> Result<bool, Error> {
        let logged = issued::exists(&self.log)?;
        if let Some(state) = self.progress().await? {
            return Ok(logged || is_made(&state));
        }
        // Another replica may have made both between two questions; then the state is there by now.
        let keyring: Option<Secret> = self.client.get(&self.keyring).await?;
        if keyring.is_some() && self.progress().await?.is_none() {
            return Err(self.state_lost());
        }
        create(&self.client, &self.state, PROGRESS, WANTED).await?;
        Ok(logged)
    }

    async fn keyring(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let secret: Option<Secret> = self.client.get(&self.keyring).await?;
        // A Secret without its key holds as little as an empty file.
        Ok(secret.map(|secret| value(secret, KEYRING)))
    }

    async fn offer_keyring(&self, sealed: &[u8]) -> Result<(), Error> {
        create(&self.client, &self.keyring, KEYRING, sealed).await
    }

    async fn keyring_opened(&self) -> Result<(), Error> {
        match self.progress().await? {
            None => Err(self.state_lost()),
            Some(state) if is_made(&state) => Ok(()),
            Some(_) => {
                let made = secret(&self.state, PROGRESS, MADE);
                self.client.merge(&made).await?;
                Ok(())
            }
        }
    }

    fn keyring_lost(&self) -> KeyringProblem {
        KeyringProblem::SecretLost {
            state: self.state.clone(),
            keyring: self.keyring.clone(),
        }
    }

    async fn bootstrap_completed(&self) -> Result<bool, Error> {
        let state = self.progress().await?.ok_or_else(|| self.state_lost())?;
        Ok(state.data.contains_key(MARKER))
    }

    async fn complete_bootstrap(&self, now: i64) -> Result<(), Error> {
        let mut marked = secret(&self.state, MARKER, now.to_string().as_bytes());
        let mut backoff = Backoff::default();
        let mut left = ATTEMPTS;
        loop {
            let state = self.progress().await?.ok_or_else(|| self.state_lost())?;
            if state.data.contains_key(MARKER) {
                return Ok(());
            }
            marked.metadata.resource_version = state.metadata.resource_version;
            left -= 1;
            match self.client.merge(&marked).await {
                Err(error) if error.is_conflict() && left > 0 => {
                    tokio::time::sleep(backoff.next()).await;
                }
                done => return Ok(done.map(drop)?),
            }
        }
    }
}

#[tonic::async_trait]
impl Seal for SecretSeal {
    async fn key(&self) -> Result<Option<aead::Secret>, Error> {
        let found: Option<Secret> = self.client.get(&self.name).await?;
        let key = found.map(|found| seal_key(&value(found, SEAL_KEY), || self.place()));
        key.transpose()
    }

    async fn offer_key(&self, key: &aead::Secret) -> Result<(), Error> {
        create(&self.client, &self.name, SEAL_KEY, key.as_ref()).await
    }

    fn place(&self) -> String {
        format!("{SEAL_KEY} of Secret {}", self.name)
    }
}

fn is_made(state: &Secret) -> bool {
    state
        .data
        .get(PROGRESS)
        .is_some_and(|value| *value.0 == MADE)
}

fn secret(name: &str, key: &str, content: &[u8]) -> Secret {
    Secret {
        metadata: Metadata::named(name),
        data: [(key.to_owned(), Value::from(content))].into(),
    }
}

fn value(mut secret: Secret, key: &str) -> Zeroizing<Vec<u8>> {
    secret
        .data
        .remove(key)
        .map(|value| value.0)
        .unwrap_or_default()
}

/// Creates a Secret; one that is there stays as it is.
async fn create(client: &Client, name: &str, key: &str, content: &[u8]) -> Result<(), Error> {
    match client.create(&secret(name, key, content)).await {
        Err(error) if error.is_conflict() => {
            tracing::info!(
                secret = name,
                "another replica came first: using what it made"
            );
            Ok(())
        }
        created => Ok(created.map(drop)?),
    }
}
