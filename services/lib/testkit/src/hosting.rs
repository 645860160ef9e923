//! A cluster that hosts control planes: a real kube-apiserver on a real etcd, with accounts, tokens and roles.

mod account;
mod process;

pub use account::Account;

use http::Method;
use nix::sys::signal::Signal;
use process::{Etcd, KubeApiserver};
use serde_json::{Value, json};
use sextant_hosting::{ApiConfig, Client};
use std::path::PathBuf;

/// The programs are named by these variables; `cargo xtask test` sets them.
const ETCD: &str = "TEST_ETCD";
const KUBE_APISERVER: &str = "TEST_KUBE_APISERVER";

/// A hosting cluster, for the life of the test.
#[derive(Debug)]
pub struct HostingCluster {
    server: KubeApiserver,
    _etcd: Etcd,
    folder: tempfile::TempDir,
}

impl HostingCluster {
    /// Starts one, or prints `SKIP …` where a program is missing.
    pub async fn start() -> Option<Self> {
        let (etcd, server) = (program(ETCD)?, program(KUBE_APISERVER)?);
        let folder = tempfile::tempdir().expect("a folder");
        let etcd = Etcd::start(&etcd, folder.path());
        let server = KubeApiserver::start(&server, etcd.url(), folder.path());
        let cluster = Self {
            server,
            _etcd: etcd,
            folder,
        };
        cluster.server.ready(&cluster.admin()).await;
        Some(cluster)
    }

    /// `host:port` of its API.
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// What an administrator's pod in namespace `default` would have.
    pub fn admin(&self) -> Client {
        Client::new(&self.api_of(&self.folder.path().join("admin"))).expect("a client")
    }

    /// Stops answering, with connections open, until [`Self::resume`].
    pub fn pause(&self) {
        self.server.signal(Signal::SIGSTOP);
    }

    /// Answers again.
    pub fn resume(&self) {
        self.server.signal(Signal::SIGCONT);
    }

    /// Makes something; panics with the API's words when it can't be made.
    pub async fn make(&self, path: &str, object: &Value) -> Value {
        let made: Result<Value, _> = self.admin().send(Method::POST, path, object).await;
        made.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads something.
    pub async fn read(&self, path: &str) -> Value {
        let read: Result<Value, _> = self.admin().send(Method::GET, path, &()).await;
        read.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Deletes something.
    pub async fn delete(&self, path: &str) {
        let deleted: Result<Value, _> = self.admin().send(Method::DELETE, path, &json!({})).await;
        deleted.unwrap_or_else(|error| panic!("{error}"));
    }

    /// A new namespace.
    pub async fn namespace(&self, name: &str) {
        let namespace = json!({"metadata": {"name": name}});
        self.make("/api/v1/namespaces", &namespace).await;
    }

    /// A new ServiceAccount.
    pub async fn account(&self, namespace: &str, name: &str) -> Account<'_> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let account = self.make(&path, &json!({"metadata": {"name": name}})).await;
        Account::new(self, namespace, name, &account["metadata"]["uid"])
    }

    fn api_of(&self, folder: &std::path::Path) -> ApiConfig {
        ApiConfig {
            server: self.address().to_owned(),
            folder: folder.to_owned(),
        }
    }
}

fn program(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        println!("SKIP {variable} names no program");
    }
    program
}
