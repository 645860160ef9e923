//! State in the datastore, under `/sextant/token-service/`.

mod etcd;
mod secrets;
mod tokens;

use std::future::Future;

pub use etcd::EtcdKv;
pub use secrets::{CertAuthoritySeal, Seal, Secrets};
pub use tokens::{Stored, Tokens};

use crate::error::Error;

/// Everything of this service is below.
const PREFIX: &str = "/sextant/token-service/";
/// A key that nobody writes: reading it tells whether the datastore answers.
pub(crate) const PROBE: &str = "/sextant/token-service/probe";

/// A value and the revision that it was written at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// 0 never occurs: it stands for "not there" in [`Kv::swap`].
    pub revision: i64,
}

/// What this service needs of a key-value store.
pub trait Kv: Clone + Send + Sync + 'static {
    /// One value.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Versioned>, Error>> + Send;

    /// All values whose keys begin with `prefix`, ordered by key.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<Versioned>, Error>> + Send;

    /// Writes (None deletes) if the value is still that of `revision`, 0 meaning that there is none. False when it
    /// is another by now.
    fn swap(
        &self,
        key: &str,
        revision: i64,
        value: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}
