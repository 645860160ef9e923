//! The two sides: a real etcd, and datastore-proxy over one of its backends.

use crate::support::database::Kind;
use crate::support::{Clients, Served, Store};
use sextant_testkit::{Process, eventually, free_port};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The etcd binary that `TEST_ETCD` names.
pub fn etcd_binary() -> Option<PathBuf> {
    let binary = std::env::var_os("TEST_ETCD");
    if binary.is_none() {
        println!("SKIP TEST_ETCD names no etcd binary");
    }
    binary.map(PathBuf::from)
}

/// A fresh etcd.
pub struct Etcd {
    pub url: String,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Etcd {
    pub async fn start(binary: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("http://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let data = folder.path().display().to_string();
        let args = [
            "--data-dir",
            &data,
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
            "--unsafe-no-fsync",
        ];
        let process = Process::spawn(binary, &args, &[]).expect("etcd starts");
        eventually(Duration::from_secs(30), "etcd serves", || {
            let endpoint = tonic::transport::Channel::from_shared(url.clone()).expect("a URL");
            let said = process.output();
            async move { endpoint.connect().await.map_err(|e| format!("{e}: {said}")) }
        })
        .await;
        Self {
            url,
            _process: process,
            _folder: folder,
        }
    }

    pub async fn clients(&self) -> Clients {
        Clients::connect(&self.url).await
    }
}

/// What datastore-proxy keeps its data in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    MariaDb,
    Postgres,
    Sqlite,
}

impl Backend {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::MariaDb, Self::Postgres];

    /// A datastore-proxy with an empty store; `None`, after a line `SKIP …`, where there can be none.
    pub async fn start(self) -> Option<Running> {
        let store = match self {
            Self::MariaDb => Store::server(Kind::MariaDb).await?,
            Self::Postgres => Store::server(Kind::Postgres).await?,
            Self::Sqlite => Store::sqlite(),
        };
        let served = Served::on(&store).await;
        Some(Running {
            served,
            _store: store,
        })
    }
}

/// A datastore-proxy that runs.
pub struct Running {
    served: Served,
    _store: Store,
}

impl Running {
    pub async fn clients(&self) -> Clients {
        self.served.clients().await
    }

    pub async fn stop(self) {
        self.served.stop().await;
    }
}
