//! A control plane that another cluster hosts: how things are named there, and the anchors that its parts read.

use crate::config::{Config, Place};
use crate::domain::account::Accounts;
use crate::error::Error;
use crate::grpc::Reviews;
use crate::store::folder::{FolderSeal, FolderState};
use crate::store::secrets::{SecretSeal, SecretState};
use crate::store::state::{Seal, State};
use sextant_hosting::{Client, ConfigMap, Metadata};
use sextant_identity::TrustBundle;
use sextant_kit::Task;
use sextant_kit::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// `<name>-<longest identity>` must be a name of an object.
const MAX_NAME: usize = 40;
/// Somebody may have changed the ConfigMap, or restored an old one.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
const ANCHORS: &str = "ca.pem";

/// What is known of being hosted.
#[derive(Clone)]
pub(super) struct Hosted {
    client: Client,
    accounts: Accounts,
    name: String,
}

impl Hosted {
    /// `None` when this control plane isn't hosted.
    pub(super) async fn new(config: &Config) -> Result<Option<Self>, Error> {
        let hosting = &config.hosting;
        if hosting.name.is_empty() {
            return Ok(None);
        }
        check_name(&hosting.name)?;
        let client = Client::new(&hosting.api)?;
        let namespace = client.namespace().await?;
        Ok(Some(Self {
            client,
            accounts: Accounts::new(&namespace, &hosting.name, &hosting.audience),
            name: hosting.name.clone(),
        }))
    }

    /// Checks ServiceAccount tokens.
    pub(super) fn reviews(&self) -> Reviews {
        Reviews::new(self.client.clone(), self.accounts.clone())
    }

    /// Keeps ConfigMap `<name>-trust` as `trust` is.
    pub(super) async fn publish(self, mut trust: watch::Receiver<Arc<TrustBundle>>, task: Task) {
        let mut backoff = Backoff::default();
        let mut published = false;
        loop {
            let pem = trust.borrow_and_update().mesh_pem();
            let pause = match self.put_anchors(&pem).await {
                Ok(()) => {
                    published = true;
                    task.ready();
                    backoff.reset();
                    LOOK_AGAIN
                }
                Err(error) => {
                    let reason = format!("publishing the mesh's anchors: {error}");
                    // What was published is read without us.
                    match published {
                        true => task.degraded(reason),
                        false => task.waiting(reason),
                    }
                    backoff.next()
                }
            };
            tokio::select! {
                changed = trust.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn put_anchors(&self, pem: &str) -> Result<(), sextant_hosting::Error> {
        let wanted = ConfigMap {
            metadata: Metadata::named(&format!("{}-trust", self.name)),
            data: [(ANCHORS.to_owned(), pem.to_owned())].into(),
        };
        let found: Option<ConfigMap> = self.client.get(&wanted.metadata.name).await?;
        let done = match found {
            Some(found) if found.data.get(ANCHORS).is_some_and(|found| found == pem) => {
                return Ok(());
            }
            Some(_) => self.client.merge(&wanted).await,
            None => self.client.create(&wanted).await,
        };
        match done {
            // Another replica came first, with the same anchors.
            Err(error) if error.is_conflict() => Ok(()),
            done => done.map(drop),
        }
    }
}

/// Where state and seal key are, hosted or not.
pub(super) fn stores(config: &Config, hosted: Option<&Hosted>) -> (Arc<dyn State>, Box<dyn Seal>) {
    let folder = || Arc::new(FolderState::new(&config.state_folder));
    let Some(Hosted { client, name, .. }) = hosted else {
        return (folder(), Box::new(FolderSeal::own(&config.seal_folder)));
    };
    let state: Arc<dyn State> = match config.hosting.state {
        Place::Folder => folder(),
        Place::Secret => Arc::new(SecretState::new(client.clone(), name, &config.state_folder)),
    };
    let seal: Box<dyn Seal> = match (config.hosting.seal, config.hosting.state) {
        (Place::Folder, Place::Folder) => Box::new(FolderSeal::own(&config.seal_folder)),
        (Place::Folder, Place::Secret) => Box::new(FolderSeal::shared(&config.seal_folder)),
        (Place::Secret, _) => Box::new(SecretSeal::new(client.clone(), name)),
    };
    (state, seal)
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() <= MAX_NAME && name.bytes().all(fits) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Error::Config(format!(
        "hosting.name is {name:?}: give at most {MAX_NAME} lower-case letters, digits and hyphens"
    )))
}
