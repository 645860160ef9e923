//! The supervisor's own state in the datastore, all under `/sextant/supervisor/`.

pub mod keys;
pub mod lease;
pub mod mirror;
pub mod tickets;

use crate::domain::membership::NodeRecord;
use crate::error::Error;
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest wait for one answer of the datastore.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Revision of its last change; 0 for a key that isn't there.
    pub revision: i64,
}

/// Which supervisor holds a session of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// `ip:port` of the internal listener of the replica.
    pub address: String,
    /// When the session was opened.
    pub since_unix: i64,
}

/// Reads and writes of own keys. Cheap to clone.
#[derive(Clone)]
pub struct Datastore {
    client: etcd_client::Client,
}

impl std::fmt::Debug for Datastore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datastore").finish_non_exhaustive()
    }
}

impl Datastore {
    /// Over a client of datastore-proxy.
    pub fn new(client: etcd_client::Client) -> Self {
        Self { client }
    }

    /// The value of a key and its revision.
    ///
    /// # Errors
    /// The datastore's own, or a deadline.
    pub async fn get(&self, key: &str) -> Result<Option<Versioned<Vec<u8>>>, Error> {
        let mut kv = self.client.kv_client();
        let mut answer = attempt(&format!("reading {key}"), kv.get(key, None)).await?;
        Ok(answer.take_kvs().pop().map(|kv| {
            let revision = kv.mod_revision();
            let (_, value) = kv.into_key_value();
            Versioned { value, revision }
        }))
    }

    /// Everything under our prefix and the revision at which it was read.
    pub(crate) async fn list(&self) -> Result<(i64, Vec<etcd_client::KeyValue>), Error> {
        let mut kv = self.client.kv_client();
        let options = GetOptions::new().with_prefix();
        let mut answer = attempt("reading own state", kv.get(keys::PREFIX, Some(options))).await?;
        let revision = answer
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision);
        Ok((revision, answer.take_kvs()))
    }

    /// Writes without looking; under `lease` the key goes when the lease does.
    ///
    /// # Errors
    /// The datastore's own, or a deadline.
    pub async fn put(&self, key: &str, value: Vec<u8>, lease: Option<i64>) -> Result<(), Error> {
        let mut kv = self.client.kv_client();
        let options = lease.map(|lease| PutOptions::new().with_lease(lease));
        attempt(&format!("writing {key}"), kv.put(key, value, options)).await?;
        Ok(())
    }

    /// Writes if the key is still at `revision` (0: if it isn't there).
    ///
    /// # Errors
    /// [`Error::Conflict`] when it isn't.
    pub async fn put_at(&self, key: &str, value: Vec<u8>, revision: i64) -> Result<(), Error> {
        let mut kv = self.client.kv_client();
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
            .and_then([TxnOp::put(key, value, None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = attempt(&format!("writing {key}"), kv.txn(txn)).await?;
        if answer.succeeded() {
            Ok(())
        } else {
            Err(Error::Conflict(key.to_owned()))
        }
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// The datastore's own, or a deadline.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let mut kv = self.client.kv_client();
        attempt(&format!("deleting {key}"), kv.delete(key, None)).await?;
        Ok(())
    }

    /// What is registered under a node's name; revision 0 when nothing is.
    ///
    /// # Errors
    /// The datastore's own, or [`Error::Record`].
    pub async fn node(&self, name: &str) -> Result<Versioned<Option<NodeRecord>>, Error> {
        let key = keys::node(name);
        let Some(found) = self.get(&key).await? else {
            return Ok(Versioned {
                value: None,
                revision: 0,
            });
        };
        let record = serde_json::from_slice(&found.value).map_err(|error| Error::Record {
            key,
            message: error.to_string(),
        })?;
        Ok(Versioned {
            value: Some(record),
            revision: found.revision,
        })
    }

    /// Registers or changes a node, if nobody else did since it was read.
    ///
    /// # Errors
    /// [`Error::Conflict`], or the datastore's own.
    pub async fn put_node(
        &self,
        name: &str,
        record: &NodeRecord,
        revision: i64,
    ) -> Result<(), Error> {
        self.put_at(&keys::node(name), to_json(record), revision)
            .await
    }

    /// Changes a node's record, reading it again when another supervisor was first. `change` says whether there
    /// is anything to write. A node that isn't registered stays so.
    ///
    /// # Errors
    /// The datastore's own.
    pub async fn update_node(
        &self,
        name: &str,
        mut change: impl FnMut(&mut NodeRecord) -> bool,
    ) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            let Versioned {
                value: Some(mut record),
                revision,
            } = self.node(name).await?
            else {
                return Ok(());
            };
            if !change(&mut record) {
                return Ok(());
            }
            match self.put_node(name, &record, revision).await {
                Err(Error::Conflict(_)) if attempts < 5 => attempts += 1,
                outcome => return outcome,
            }
        }
    }
}

/// JSON of a record of ours.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // Records are plain structs of strings and numbers, which always serialize.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(crate) async fn attempt<T>(
    what: &str,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    // A client's call is a large future; boxed, it doesn't add up on the stack of whoever nests it.
    match tokio::time::timeout(DEADLINE, Box::pin(call)).await {
        Ok(outcome) => outcome.map_err(|source| Error::Datastore {
            what: what.to_owned(),
            source,
        }),
        Err(_) => Err(Error::Deadline(
            format!("datastore: {what}"),
            DEADLINE.as_secs(),
        )),
    }
}
