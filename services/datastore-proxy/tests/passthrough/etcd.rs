//! Real etcds, and datastore-proxies in front of them.
#![allow(dead_code, reason = "each test takes what it needs")]

use crate::support::{self, Served};
use datastore_proxy::config::Config;
use sextant_testkit::{Process, eventually, free_port};
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Channel;

/// The etcd binary that `TEST_ETCD` names.
pub fn binary() -> Option<PathBuf> {
    let binary = std::env::var_os("TEST_ETCD");
    if binary.is_none() {
        println!("SKIP TEST_ETCD names no etcd binary");
    }
    binary.map(PathBuf::from)
}

/// The members of one etcd, which can be killed and started again.
pub struct Etcd {
    binary: PathBuf,
    members: Vec<Member>,
    extra: Vec<String>,
    _folder: tempfile::TempDir,
}

struct Member {
    client: u16,
    args: Vec<String>,
    process: Option<Process>,
}

impl Etcd {
    /// An etcd of one member.
    pub async fn start(binary: &std::path::Path) -> Self {
        Self::start_with(binary, 1, "http", &[]).await
    }

    /// An etcd of `size` members, which speaks `scheme` with clients.
    pub async fn start_with(
        binary: &std::path::Path,
        size: usize,
        scheme: &str,
        extra: &[String],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: Vec<(u16, u16)> = (0..size).map(|_| (free_port(), free_port())).collect();
        let cluster: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(at, (_, peer))| format!("m{at}=http://127.0.0.1:{peer}"))
            .collect();
        let cluster = cluster.join(",");
        let members = ports.iter().enumerate().map(|(at, (client, peer))| {
            let data = folder.path().join(at.to_string());
            let url = format!("{scheme}://127.0.0.1:{client}");
            let peer = format!("http://127.0.0.1:{peer}");
            let args = [
                format!("--name=m{at}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={cluster}"),
                "--heartbeat-interval=50".to_owned(),
                "--election-timeout=500".to_owned(),
                "--unsafe-no-fsync".to_owned(),
            ];
            Member {
                client: *client,
                args: args.to_vec(),
                process: None,
            }
        });
        let mut etcd = Self {
            binary: binary.to_owned(),
            members: members.collect(),
            extra: extra.to_vec(),
            _folder: folder,
        };
        for at in 0..size {
            etcd.spawn(at);
        }
        for at in 0..size {
            etcd.accepts(at).await;
        }
        etcd
    }

    fn spawn(&mut self, at: usize) {
        let member = &mut self.members[at];
        let args = [member.args.as_slice(), &self.extra].concat();
        member.process = Some(Process::spawn(&self.binary, &args, &[]).expect("etcd starts"));
    }

    async fn accepts(&self, at: usize) {
        let member = &self.members[at];
        let port = member.client;
        eventually(Duration::from_secs(60), "etcd listens", || {
            let said = member.process.as_ref().map(Process::output);
            async move {
                let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                stream.map_err(|error| format!("{error}: {said:?}"))
            }
        })
        .await;
    }

    /// Kills a member at once.
    pub async fn kill(&mut self, at: usize) {
        if let Some(mut process) = self.members[at].process.take() {
            process.signal(nix::sys::signal::Signal::SIGKILL);
            process.wait(Duration::from_secs(10)).await;
        }
    }

    /// Starts a killed member again, on what it has stored.
    pub async fn revive(&mut self, at: usize) {
        self.spawn(at);
        self.accepts(at).await;
    }

    /// `host:port` of every member.
    pub fn members(&self) -> String {
        let members = self.members.iter();
        let members = members.map(|member| format!("127.0.0.1:{}", member.client));
        members.collect::<Vec<_>>().join(",")
    }

    /// The URL of the first member.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.members[0].client)
    }

    /// A number among the metrics of the first member.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = http_get(self.members[0].client, "/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        let number = line.rsplit(' ').next().expect("a number");
        number.trim().parse().expect("a number")
    }
}

async fn http_get(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    text
}

/// The configuration of a plane on these members.
pub fn config(members: &str, prefix: &str) -> Config {
    Config {
        endpoint: format!("etcd://{members}{prefix}"),
        ..support::config("/unused".as_ref())
    }
}

/// A datastore-proxy for the plane under `prefix`.
pub async fn plane(etcd: &Etcd, prefix: &str) -> Served {
    Served::start_with(config(&etcd.members(), prefix)).await
}

/// So many connections to a datastore-proxy.
pub async fn connections(served: &Served, count: usize) -> Vec<Channel> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let channel = Channel::from_shared(format!("http://{}", served.address));
        all.push(channel.expect("a URL").connect().await.expect("connected"));
    }
    all
}
