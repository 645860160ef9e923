//! Join tokens in the store, one key each.

use super::{Kv, PREFIX, Versioned};
use crate::{domain::record::Record, error::Error};

/// A record, and the revision to change it at.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Id of the token.
    pub id: String,
    /// What is kept of it.
    pub record: Record,
    revision: i64,
}

/// The join tokens.
#[derive(Clone, Debug)]
pub struct Tokens<K> {
    kv: K,
}

impl<K: Kv> Tokens<K> {
    /// Over this store.
    pub fn new(kv: K) -> Self {
        Self { kv }
    }

    /// Keeps a new token. False when its id is taken.
    pub async fn create(&self, id: &str, record: &Record) -> Result<bool, Error> {
        self.kv.swap(&key(id), 0, Some(encode(record)?)).await
    }

    /// One token.
    pub async fn get(&self, id: &str) -> Result<Option<Stored>, Error> {
        self.kv.get(&key(id)).await?.map(decode).transpose()
    }

    /// All tokens, ordered by id. A damaged record is left out and logged: it must not hide the others.
    pub async fn list(&self) -> Result<Vec<Stored>, Error> {
        let all = self.kv.list(&key("")).await?;
        let readable = |versioned| {
            decode(versioned)
                .inspect_err(|error| tracing::error!(%error, "token left out"))
                .ok()
        };
        Ok(all.into_iter().filter_map(readable).collect())
    }

    /// Replaces a record. False when somebody else did so since it was read.
    pub async fn update(&self, stored: &Stored, record: &Record) -> Result<bool, Error> {
        self.kv
            .swap(&key(&stored.id), stored.revision, Some(encode(record)?))
            .await
    }

    /// Forgets a token. False when somebody changed it since it was read.
    pub async fn delete(&self, stored: &Stored) -> Result<bool, Error> {
        self.kv.swap(&key(&stored.id), stored.revision, None).await
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}tokens/{id}")
}

fn encode(record: &Record) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record).map_err(|error| Error::Invalid(error.to_string()))
}

fn decode(versioned: Versioned) -> Result<Stored, Error> {
    let Versioned {
        key,
        value,
        revision,
    } = versioned;
    match serde_json::from_slice(&value) {
        Ok(record) => {
            let id = key.rsplit('/').next().unwrap_or_default().to_owned();
            Ok(Stored {
                id,
                record,
                revision,
            })
        }
        Err(error) => Err(Error::Stored {
            key,
            reason: error.to_string(),
        }),
    }
}
