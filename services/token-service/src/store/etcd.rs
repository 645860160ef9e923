//! The store over the etcd API.

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp};
use tokio::time::timeout;

use super::{Kv, Versioned};
use crate::error::Error;

/// How long one operation may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Values in one page of a list.
const PAGE: i64 = 500;

/// datastore-proxy, or any etcd.
#[derive(Clone)]
pub struct EtcdKv(Client);

impl EtcdKv {
    /// Uses this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl std::fmt::Debug for EtcdKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EtcdKv")
    }
}

impl Kv for EtcdKv {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, Error> {
        let mut client = self.0.kv_client();
        let found = within("reading", client.get(key, None)).await?;
        Ok(found.kvs().first().map(versioned))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Versioned>, Error> {
        let mut client = self.0.kv_client();
        let mut all = Vec::new();
        let (mut from, end) = (prefix.as_bytes().to_vec(), end_of(prefix));
        loop {
            let page = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
            let found = within("listing", client.get(from, Some(page))).await?;
            all.extend(found.kvs().iter().map(versioned));
            match found.kvs().last() {
                Some(last) if found.more() => {
                    from = last.key().to_vec();
                    // The first key after the last one.
                    from.push(0);
                }
                _ => return Ok(all),
            }
        }
    }

    async fn swap(&self, key: &str, revision: i64, value: Option<Vec<u8>>) -> Result<bool, Error> {
        let mut client = self.0.kv_client();
        let operation = match value {
            Some(value) => TxnOp::put(key, value, None),
            None => TxnOp::delete(key, None),
        };
        // The one form of transaction that kube-apiserver uses, too.
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
            .and_then([operation])
            .or_else([TxnOp::get(key, None)]);
        Ok(within("writing", client.txn(txn)).await?.succeeded())
    }
}

fn versioned(pair: &KeyValue) -> Versioned {
    Versioned {
        key: String::from_utf8_lossy(pair.key()).into_owned(),
        value: pair.value().to_vec(),
        revision: pair.mod_revision(),
    }
}

/// The first key after all that begin with `prefix`, which ends with `/`.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

async fn within<T>(
    action: &'static str,
    operation: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match timeout(DEADLINE, operation).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::Datastore {
            action,
            reason: error.to_string(),
        }),
        Err(_) => Err(Error::Datastore {
            action,
            reason: format!("no answer within {DEADLINE:?}"),
        }),
    }
}
