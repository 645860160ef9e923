//! A token-service in process, with a store and a seal in memory.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use sextant_identity::{Channel, Identity, Peer, ServiceName};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::{
    externaljwt::external_jwt_signer_client::ExternalJwtSignerClient,
    tokenservice::{CreateRequest, Scope, VerifyRequest, join_tokens_client::JoinTokensClient},
};
use sextant_testkit::{FakeClock, Root};
use token_service::{
    app::Bound,
    clock::Clock,
    config::Config,
    error::Error,
    store::{Kv, Seal, Versioned},
};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// A store that counts revisions as etcd does.
#[derive(Clone, Default)]
pub struct MemoryKv {
    state: Arc<Mutex<(i64, BTreeMap<String, Versioned>)>>,
    away: Arc<AtomicBool>,
}

impl MemoryKv {
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub fn all(&self) -> Vec<Versioned> {
        self.state.lock().unwrap().1.values().cloned().collect()
    }

    fn reach(&self) -> Result<(), Error> {
        let reason = "connection refused".to_owned();
        match self.away.load(Ordering::SeqCst) {
            true => Err(Error::Datastore {
                action: "trying",
                reason,
            }),
            false => Ok(()),
        }
    }
}

impl Kv for MemoryKv {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, Error> {
        self.reach()?;
        Ok(self.state.lock().unwrap().1.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Versioned>, Error> {
        self.reach()?;
        let all = self.all();
        Ok(all
            .into_iter()
            .filter(|one| one.key.starts_with(prefix))
            .collect())
    }

    async fn swap(&self, key: &str, revision: i64, value: Option<Vec<u8>>) -> Result<bool, Error> {
        self.reach()?;
        // Lets others in between reading and writing, as a network would.
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        if state.1.get(key).map_or(0, |present| present.revision) != revision {
            return Ok(false);
        }
        state.0 += 1;
        let revision = state.0;
        let key = key.to_owned();
        match value {
            Some(value) => state.1.insert(
                key.clone(),
                Versioned {
                    key,
                    value,
                    revision,
                },
            ),
            None => state.1.remove(&key),
        };
        Ok(true)
    }
}

/// Turns every bit over: not sealed, but not readable by accident either.
#[derive(Clone)]
pub struct MemorySeal;

impl Seal for MemorySeal {
    async fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, Error> {
        let sealed = plain.iter().map(|byte| !byte);
        Ok(purpose.bytes().chain([0]).chain(sealed).collect())
    }

    async fn unseal(&self, sealed: &[u8], purpose: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let head: Vec<u8> = purpose.bytes().chain([0]).collect();
        let sealed = sealed.strip_prefix(head.as_slice());
        let sealed = sealed.ok_or(Error::Crypto("sealed for another purpose"))?;
        Ok(Zeroizing::new(sealed.iter().map(|byte| !byte).collect()))
    }
}

/// One replica.
pub struct Replica {
    pub address: SocketAddr,
    pub ctx: Context,
    root: Root,
    trigger: DrainTrigger,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.trigger.start();
    }
}

pub struct Cluster {
    pub root: Root,
    pub clock: FakeClock,
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            root: Root::new(),
            clock: FakeClock::new(SystemTime::now()),
        }
    }

    pub async fn replica<K: Kv>(&self, kv: &K) -> Replica {
        self.replica_with(kv, Config::default()).await
    }

    pub async fn replica_with<K: Kv>(&self, kv: &K, config: Config) -> Replica {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clock = self.clock.clone();
        let bound = Bound {
            config,
            listener,
            mesh: self.root.mesh(ServiceName::TokenService),
            kv: kv.clone(),
            seal: MemorySeal,
            clock: Clock::new(move || clock.now()),
        };
        let (ctx, trigger) = Context::new();
        let (address, task) = (bound.local_addr().unwrap(), ctx.clone());
        tokio::spawn(async move { bound.run(&task).await.unwrap() });
        Replica {
            address,
            ctx,
            root: self.root.clone(),
            trigger,
        }
    }
}

impl Replica {
    pub fn channel(&self, caller: impl Into<Identity>) -> Channel {
        let peer = Peer::Service(ServiceName::TokenService);
        self.root
            .mesh(caller)
            .channel(&self.address.to_string(), peer)
    }

    pub fn tokens(&self) -> JoinTokensClient<Channel> {
        JoinTokensClient::new(self.channel(ServiceName::Supervisor))
    }

    pub fn signer(&self) -> ExternalJwtSignerClient<Channel> {
        ExternalJwtSignerClient::new(self.channel(ServiceName::KubeApiserver))
    }

    pub async fn ready(&self) {
        let ready = self.ctx.readiness.ready();
        let waited = tokio::time::timeout(Duration::from_secs(20), ready).await;
        waited.unwrap_or_else(|_| panic!("not ready: {:?}", self.ctx.readiness.waiting()));
    }

    /// A new token: its id and its text.
    pub async fn create(&self, scope: Scope) -> (String, String) {
        let request = CreateRequest {
            scope: Some(scope),
            ..CreateRequest::default()
        };
        let created = self.tokens().create(request).await.unwrap().into_inner();
        (created.token.unwrap().id, created.secret)
    }

    /// How often the token was used after `join` did, or the refusal's code.
    pub async fn verify(&self, token: &str, join: &str) -> Result<u32, String> {
        self.verify_as(token, join, "node-1", "10.0.0.1").await
    }

    pub async fn verify_as(
        &self,
        token: &str,
        join: &str,
        node: &str,
        source: &str,
    ) -> Result<u32, String> {
        let request = VerifyRequest {
            token: token.to_owned(),
            node_name: node.to_owned(),
            source_address: source.to_owned(),
            join_id: join.as_bytes().to_vec().into(),
        };
        match self.tokens().verify(request).await {
            Ok(verified) => Ok(verified.into_inner().token.unwrap().uses),
            Err(status) => Err(code(&status)),
        }
    }
}

/// The stable code of an error.
pub fn code(status: &tonic::Status) -> String {
    let code = status.metadata().get("sextant-code");
    code.map_or_else(
        || format!("{status:?}"),
        |code| code.to_str().unwrap().to_owned(),
    )
}
