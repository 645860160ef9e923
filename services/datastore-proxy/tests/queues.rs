//! Locks and elections: one at a time, in order, and nobody waits for who has gone; with replicas, whichever is asked.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

#[path = "passthrough/etcd.rs"]
mod etcd;
mod support;

use etcd::Etcd;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::v3electionpb::election_client::ElectionClient;
use sextant_proto::etcd::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use sextant_proto::etcd::v3lockpb::lock_client::LockClient;
use sextant_proto::etcd::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use sextant_testkit::eventually;
use std::time::Duration;
use support::{Clients, Served, Store, list};
use tonic::transport::Channel;
use tonic::{Code, Status};

support::on_each_backend! {
    a_lock_goes_to_who_asked_first,
    an_election_has_one_leader_and_everybody_hears_it,
    the_drain_ends_waiting,
    who_gives_up_waiting_is_no_longer_waited_for,
}

macro_rules! on_an_etcd {
    ($($name:ident),+ $(,)?) => {
        mod over_an_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(binary) = crate::etcd::binary() {
                    super::$name(crate::etcd::Etcd::start(&binary).await).await;
                }
            })+
        }
    };
}
on_an_etcd! {
    a_lock_goes_to_who_asked_first,
    an_election_has_one_leader_and_everybody_hears_it,
    the_drain_ends_waiting,
    who_gives_up_waiting_is_no_longer_waited_for,
}

/// Where keys are.
enum Backend {
    Etcd(Etcd),
    Store(Store),
}

impl From<Etcd> for Backend {
    fn from(etcd: Etcd) -> Self {
        Self::Etcd(etcd)
    }
}

impl From<Store> for Backend {
    fn from(store: Store) -> Self {
        Self::Store(store)
    }
}

/// All replicas that a backend can have, of which two are enough.
struct Serving(Vec<Served>);

impl Serving {
    async fn start(backend: &Backend) -> Self {
        let (config, replicas) = match backend {
            Backend::Etcd(etcd) => (etcd::config(&etcd.members(), "/planes/a"), 2),
            Backend::Store(store @ Store::Server(_)) => (store.config(), 2),
            Backend::Store(store @ Store::Sqlite(..)) => (store.config(), 1),
        };
        let mut all = Vec::new();
        for _ in 0..replicas {
            all.push(Served::start_with(config.clone()).await);
        }
        Self(all)
    }

    /// The replica whose turn it is.
    fn replica(&self, turn: usize) -> &Served {
        &self.0[turn % self.0.len()]
    }

    async fn channel(&self, turn: usize) -> Channel {
        let url = format!("http://{}", self.replica(turn).address);
        Channel::from_shared(url).unwrap().connect().await.unwrap()
    }

    async fn clients(&self) -> Clients {
        self.replica(0).clients().await
    }

    async fn stop(self) {
        for served in self.0 {
            served.stop().await;
        }
    }
}

async fn grant(clients: &mut Clients) -> i64 {
    let request = pb::LeaseGrantRequest { ttl: 600, id: 0 };
    clients
        .lease
        .lease_grant(request)
        .await
        .unwrap()
        .into_inner()
        .id
}

/// Waits until so many stand in line.
async fn queued(clients: &Clients, prefix: &str, wanted: usize) {
    eventually(Duration::from_secs(10), "they stand in line", || {
        let mut clients = clients.clone();
        async move {
            let found = clients
                .kv
                .range(list(prefix))
                .await
                .unwrap()
                .into_inner()
                .kvs
                .len();
            if found == wanted { Ok(()) } else { Err(found) }
        }
    })
    .await;
}

async fn lock(locks: &mut LockClient<Channel>, lease: i64) -> Result<LockResponse, Status> {
    let request = LockRequest {
        name: "lock".into(),
        lease,
    };
    locks.lock(request).await.map(tonic::Response::into_inner)
}

async fn a_lock_goes_to_who_asked_first(backend: impl Into<Backend>) {
    let backend = backend.into();
    let served = Serving::start(&backend).await;
    let mut clients = served.clients().await;
    let mut locks = LockClient::new(served.channel(0).await);
    let first_lease = grant(&mut clients).await;
    let first = lock(&mut locks, first_lease).await.unwrap();
    assert_eq!(first.key, format!("lock/{first_lease:x}"));
    // Who has it may ask again.
    assert_eq!(lock(&mut locks, first_lease).await.unwrap().key, first.key);

    let (order, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..3 {
        let lease = grant(&mut clients).await;
        let mut locks = LockClient::new(served.channel(number).await);
        let order = order.clone();
        tokio::spawn(async move {
            let held = lock(&mut locks, lease).await.unwrap();
            order.send(number).unwrap();
            locks.unlock(UnlockRequest { key: held.key }).await.unwrap();
        });
        queued(&clients, "lock/", number + 2).await;
    }
    assert!(seen.try_recv().is_err(), "two hold one lock");
    locks
        .unlock(UnlockRequest { key: first.key })
        .await
        .unwrap();
    for expected in 0..3 {
        assert_eq!(seen.recv().await, Some(expected));
    }
    served.stop().await;
}

async fn who_gives_up_waiting_is_no_longer_waited_for(backend: impl Into<Backend>) {
    let backend = backend.into();
    let served = Serving::start(&backend).await;
    let mut clients = served.clients().await;
    let mut locks = LockClient::new(served.channel(0).await);
    let first = lock(&mut locks, 0).await.unwrap();
    let mut other = LockClient::new(served.channel(1).await);
    let waiting = tokio::spawn({
        let mut other = other.clone();
        async move { lock(&mut other, 0).await }
    });
    queued(&clients, "lock/", 2).await;
    waiting.abort();
    queued(&clients, "lock/", 1).await;
    locks
        .unlock(UnlockRequest { key: first.key })
        .await
        .unwrap();

    let unknown = lock(&mut locks, 4711).await.unwrap_err();
    assert_eq!(unknown.message(), "etcdserver: requested lease not found");

    // The lease ends while its owner waits.
    let held = lock(&mut locks, 0).await.unwrap();
    let lease = grant(&mut clients).await;
    let waiting = tokio::spawn(async move { lock(&mut other, lease).await });
    queued(&clients, "lock/", 2).await;
    clients
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: lease })
        .await
        .unwrap();
    locks.unlock(UnlockRequest { key: held.key }).await.unwrap();
    let expired = waiting.await.unwrap().unwrap_err();
    assert_eq!(expired.message(), "mutex: session is expired");
    served.stop().await;
}

async fn the_drain_ends_waiting(backend: impl Into<Backend>) {
    let backend = backend.into();
    let served = Serving::start(&backend).await;
    let clients = served.clients().await;
    let mut locks = LockClient::new(served.channel(0).await);
    lock(&mut locks, 0).await.unwrap();
    let mut waiter = LockClient::new(served.channel(1).await);
    let waiting = tokio::spawn(async move { lock(&mut waiter, 0).await });
    queued(&clients, "lock/", 2).await;
    served.stop().await;
    assert_eq!(
        waiting.await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
}

struct Candidate {
    elections: ElectionClient<Channel>,
    lease: i64,
}

impl Candidate {
    async fn campaign(&mut self, value: &str) -> LeaderKey {
        let request = CampaignRequest {
            name: "e".into(),
            lease: self.lease,
            value: value.to_owned().into(),
        };
        self.elections
            .campaign(request)
            .await
            .unwrap()
            .into_inner()
            .leader
            .unwrap()
    }

    async fn proclaim(&mut self, leader: &LeaderKey, value: &str) -> Result<(), Status> {
        let request = ProclaimRequest {
            leader: Some(leader.clone()),
            value: value.to_owned().into(),
        };
        self.elections.proclaim(request).await.map(drop)
    }
}

async fn an_election_has_one_leader_and_everybody_hears_it(backend: impl Into<Backend>) {
    let backend = backend.into();
    let served = Serving::start(&backend).await;
    let mut clients = served.clients().await;
    let mut elections = ElectionClient::new(served.channel(0).await);
    let name = LeaderRequest { name: "e".into() };
    let none = elections.leader(name.clone()).await.unwrap_err();
    assert_eq!(
        (none.code(), none.message()),
        (Code::Unknown, "election: no leader")
    );
    let mut observed = elections.observe(name.clone()).await.unwrap().into_inner();

    let mut first = Candidate {
        elections: elections.clone(),
        lease: grant(&mut clients).await,
    };
    let mut second = Candidate {
        elections: ElectionClient::new(served.channel(1).await),
        lease: grant(&mut clients).await,
    };
    let leader = first.campaign("one").await;
    let next = tokio::spawn(async move { (second.campaign("two").await, second) });
    queued(&clients, "e/", 2).await;
    let told = elections.leader(name).await.unwrap().into_inner();
    assert_eq!(told.kv.unwrap().value, "one");
    first.proclaim(&leader, "one again").await.unwrap();
    // Who campaigns again only says something else.
    assert_eq!(first.campaign("still one").await, leader);
    let resign = ResignRequest {
        leader: Some(leader.clone()),
    };
    elections.resign(resign).await.unwrap();
    let (new, mut second) = next.await.unwrap();
    assert_ne!(new.key, leader.key);
    let refused = first.proclaim(&leader, "me").await.unwrap_err();
    assert_eq!(refused.message(), "election: not leader");
    second.proclaim(&new, "two again").await.unwrap();

    let mut heard = Vec::new();
    while heard.len() < 5 {
        let next = tokio::time::timeout(Duration::from_secs(10), observed.message()).await;
        let answer = next
            .unwrap_or_else(|_| panic!("heard only {heard:?}"))
            .unwrap()
            .unwrap();
        heard.push(String::from_utf8(answer.kv.unwrap().value.to_vec()).unwrap());
    }
    assert_eq!(heard, ["one", "one again", "still one", "two", "two again"]);
    served.stop().await;
    assert_eq!(
        observed.message().await.unwrap_err().code(),
        Code::Unavailable
    );
}
