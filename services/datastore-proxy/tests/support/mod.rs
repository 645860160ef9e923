//! What the tests share: a datastore-proxy in process, and clients of it.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod database;
pub mod stream;

use database::{Kind, Server};
use datastore_proxy::app::Bound;
use datastore_proxy::config::{Config, PeerConfig};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Channel;

/// A datastore-proxy that serves plaintext on a free port.
pub struct Served {
    pub address: SocketAddr,
    pub ctx: Context,
    trigger: DrainTrigger,
    task: tokio::task::JoinHandle<()>,
}

/// One that waits for something before it can serve.
pub struct Starting {
    pub trigger: DrainTrigger,
    pub task: tokio::task::JoinHandle<anyhow::Result<Bound>>,
}

/// A backend with nothing in it.
pub enum Store {
    Server(Server),
    Sqlite(tempfile::TempDir, PathBuf),
}

impl Store {
    pub fn sqlite() -> Self {
        let (folder, path) = store();
        Self::Sqlite(folder, path)
    }

    pub async fn server(kind: Kind) -> Option<Self> {
        Server::start(kind).await.map(Self::Server)
    }

    pub fn config(&self) -> Config {
        match self {
            Self::Server(server) => replica(&server.endpoint("plane")),
            Self::Sqlite(_, path) => config(path),
        }
    }

    /// Rows in its log.
    pub async fn rows(&self) -> i64 {
        match self {
            Self::Server(server) => server.number("SELECT count(*) FROM plane.log").await,
            Self::Sqlite(_, path) => rusqlite::Connection::open(path)
                .expect("the file")
                .query_row("SELECT count(*) FROM log", [], |row| row.get(0))
                .expect("a count"),
        }
    }
}

/// Makes a test of each function, for each backend.
#[allow(unused_macros, reason = "not every test has backends")]
macro_rules! on_each_backend {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Store::sqlite()).await;
            })+
        }
        $crate::support::on_each_backend!(in mariadb, MariaDb, $($name),+);
        $crate::support::on_each_backend!(in postgres, Postgres, $($name),+);
    };
    (in $module:ident, $kind:ident, $($name:ident),+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let kind = $crate::support::database::Kind::$kind;
                if let Some(store) = $crate::support::Store::server(kind).await {
                    super::$name(store).await;
                }
            })+
        }
    };
}
#[allow(unused_imports, reason = "not every test has backends")]
pub(crate) use on_each_backend;

/// One of several replicas on a database.
pub fn replica(endpoint: &str) -> Config {
    Config {
        endpoint: endpoint.to_owned(),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        peer: PeerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            ..PeerConfig::default()
        },
        insecure_loopback: true,
        ..Config::default()
    }
}

pub fn config(path: &Path) -> Config {
    Config {
        endpoint: format!("sqlite://{}", path.display()),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        insecure_loopback: true,
        ..Config::default()
    }
}

impl Served {
    pub async fn start(path: &Path) -> Self {
        Self::start_with(config(path)).await
    }

    pub async fn on(store: &Store) -> Self {
        Self::start_with(store.config()).await
    }

    /// Begins to start one that can't yet, and waits until it says why.
    pub async fn told(config: Config, reason: &str) -> Starting {
        let (ctx, trigger) = Context::new();
        let task = tokio::spawn(Bound::bind(config, ctx.clone()));
        eventually(Duration::from_secs(30), "the reason", || async {
            let told = format!("{:?}", ctx.readiness.waiting());
            if told.contains(reason) {
                Ok(())
            } else {
                Err(told)
            }
        })
        .await;
        assert!(!task.is_finished());
        Starting { trigger, task }
    }

    pub async fn start_with(config: Config) -> Self {
        let (ctx, trigger) = Context::new();
        let bound = Bound::bind(config, ctx.clone()).await.expect("it starts");
        let address = bound.address().expect("an address");
        let task = tokio::spawn(async move { bound.run().await.expect("it serves") });
        let ready = tokio::time::timeout(Duration::from_secs(20), ctx.readiness.ready()).await;
        assert!(ready.is_ok(), "it waits: {:?}", ctx.readiness.waiting());
        Self {
            address,
            ctx,
            trigger,
            task,
        }
    }

    /// Stops it and waits until the file is free again.
    pub async fn stop(self) {
        self.trigger.start();
        self.task.await.expect("it ends");
        self.trigger.finished().await;
    }

    pub async fn clients(&self) -> Clients {
        Clients::connect(&format!("http://{}", self.address)).await
    }
}

/// One client of each service.
#[derive(Clone)]
pub struct Clients {
    pub kv: pb::kv_client::KvClient<Channel>,
    pub watch: pb::watch_client::WatchClient<Channel>,
    pub lease: pb::lease_client::LeaseClient<Channel>,
    pub maintenance: pb::maintenance_client::MaintenanceClient<Channel>,
}

impl Clients {
    pub async fn connect(url: &str) -> Self {
        let channel = Channel::from_shared(url.to_owned()).expect("a URL");
        Self::over(channel.connect().await.expect("a connection"))
    }

    /// To a process that is starting, once it answers.
    pub async fn answering(listen: &str, limit: Duration) -> Self {
        eventually(limit, "it serves", || {
            let url = format!("http://{listen}");
            async move {
                let channel = Channel::from_shared(url).expect("a URL");
                let channel = channel.connect().await.map_err(|e| e.to_string())?;
                let mut clients = Self::over(channel);
                let asked = clients.kv.range(get("x")).await;
                asked.map(|_| clients).map_err(|e| e.to_string())
            }
        })
        .await
    }

    pub fn over(channel: Channel) -> Self {
        let kv = pb::kv_client::KvClient::new(channel.clone());
        Self {
            kv: kv
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX),
            watch: pb::watch_client::WatchClient::new(channel.clone())
                .max_decoding_message_size(usize::MAX),
            lease: pb::lease_client::LeaseClient::new(channel.clone()),
            maintenance: pb::maintenance_client::MaintenanceClient::new(channel),
        }
    }

    pub async fn put(&mut self, key: &str, value: &str) -> i64 {
        let response = self
            .kv
            .put(put(key, value))
            .await
            .expect("put")
            .into_inner();
        revision(response.header)
    }

    pub async fn get(&mut self, key: &str) -> Option<String> {
        let response = self.kv.range(get(key)).await.expect("range").into_inner();
        response
            .kvs
            .first()
            .map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
    }
}

pub fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..pb::PutRequest::default()
    }
}

pub fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..pb::RangeRequest::default()
    }
}

/// Every key that begins with `prefix`, whose last byte isn't 0xff.
pub fn list(prefix: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix).into(),
        ..pb::RangeRequest::default()
    }
}

pub fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

pub fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..pb::DeleteRangeRequest::default()
    }
}

pub fn delete_prefix(prefix: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        range_end: prefix_end(prefix).into(),
        ..delete(prefix)
    }
}

pub fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

/// A folder for one test, and a store in it.
pub fn store() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    (folder, path)
}

/// Waits, on a thread of its own, for a condition that programs must be asked for.
pub fn until(limit: std::time::Duration, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + limit;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "not within {limit:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
