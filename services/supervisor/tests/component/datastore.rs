//! A stand-in for datastore-proxy: the etcd v3 API as far as the supervisor uses it, in memory.

mod db;
mod kv;
mod lease;
mod watch;

use self::db::Db;
use futures::Stream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch as values;
use tokio::time::Instant;
use tonic::Status;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Arc<Mutex<Db>>,
    revision: Arc<values::Sender<i64>>,
    away: Arc<values::Sender<bool>>,
}

impl Store {
    pub fn new() -> Self {
        let db = Db {
            revision: 1,
            ..Db::default()
        };
        let store = Self {
            db: Arc::new(Mutex::new(db)),
            revision: Arc::new(values::Sender::new(1)),
            away: Arc::new(values::Sender::new(false)),
        };
        let expiring = store.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                expiring.expire();
            }
        });
        store
    }

    /// Every call fails and every stream ends while it is away.
    pub fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    pub fn value(&self, key: &str) -> Option<serde_json::Value> {
        let db = self.db.lock().unwrap();
        db.keys
            .get(key.as_bytes())
            .map(|kv| serde_json::from_slice(&kv.value).unwrap())
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let db = self.db.lock().unwrap();
        let keys = db
            .keys
            .keys()
            .map(|key| String::from_utf8_lossy(key).into_owned());
        keys.filter(|key| key.starts_with(prefix)).collect()
    }

    fn check(&self) -> Result<(), Status> {
        if *self.away.borrow() {
            Err(Status::unavailable("the test took the datastore away"))
        } else {
            Ok(())
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Db) -> T) -> T {
        let (outcome, revision) = {
            let mut db = self.db.lock().unwrap();
            (change(&mut db), db.revision)
        };
        self.revision
            .send_if_modified(|known| std::mem::replace(known, revision) != revision);
        outcome
    }

    fn expire(&self) {
        let now = Instant::now();
        let over: Vec<i64> = {
            let db = self.db.lock().unwrap();
            db.leases
                .iter()
                .filter(|(_, (_, end))| *end <= now)
                .map(|(id, _)| *id)
                .collect()
        };
        for id in over {
            self.change(|db| db.revoke(id));
        }
    }
}
