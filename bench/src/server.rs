//! The servers: each started on a free port with a folder of its own, and ended with its handle.

use crate::{proc, shape};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use sextant_proto::etcd::etcdserverpb::kv_client::KvClient;
use sextant_proto::etcd::etcdserverpb::watch_client::WatchClient;
use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

const WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Upstream's etcd, one member.
    Etcd,
    /// kine on SQLite, as it is by default (`synchronous=NORMAL`).
    Kine,
    /// Ours on SQLite (`synchronous=FULL`).
    DatastoreProxy,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Etcd, Self::Kine, Self::DatastoreProxy];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DatastoreProxy => "datastore-proxy",
            Self::Etcd => "etcd",
            Self::Kine => "kine",
        })
    }
}

/// A program that can be started.
#[derive(Clone, Debug)]
pub struct Program {
    /// Whose.
    pub kind: Kind,
    /// Where it lies.
    pub path: PathBuf,
}

/// A server that runs.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    folder: PathBuf,
    port: u16,
    child: Child,
    /// From its start until it answered.
    pub took: Duration,
}

impl Program {
    /// Starts it with the data in `folder`, which need not exist, and waits until it answers.
    pub async fn start(&self, folder: &Path) -> Result<Server> {
        let endpoint = match self.kind {
            Kind::Etcd => String::new(),
            // Its own default parameters, which an endpoint with a path of its own has to repeat.
            Kind::Kine => format!(
                "sqlite://{}?_journal_mode=WAL&_busy_timeout=30000&_synchronous=NORMAL\
                 &_txlock=immediate&_stmt_cache_size=20&cache=shared",
                folder.join("state.db").display()
            ),
            Kind::DatastoreProxy => format!("sqlite://{}", folder.join("state.db").display()),
        };
        self.start_on(folder, &endpoint).await
    }

    /// The same with the data at `endpoint`, which etcd doesn't have.
    pub async fn start_on(&self, folder: &Path, endpoint: &str) -> Result<Server> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let port = free_port()?;
        let log = folder.join("log");
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(&self.path);
        command.args(arguments(self.kind, folder, endpoint, port)?);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("duplicating a file")?)
            .stderr(output);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.path.display()))?;
        let mut server = Server {
            kind: self.kind,
            folder: folder.to_owned(),
            port,
            child,
            took: Duration::ZERO,
        };
        server.answers(started, &log).await?;
        server.took = started.elapsed();
        Ok(server)
    }
}

fn arguments(kind: Kind, folder: &Path, endpoint: &str, port: u16) -> Result<Vec<String>> {
    let arguments = match kind {
        Kind::Etcd => {
            let client = format!("http://127.0.0.1:{port}");
            let peer = format!("http://127.0.0.1:{}", free_port()?);
            vec![
                format!("--data-dir={}", folder.join("data").display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
                // The default of 2 GiB would end the section with a million revisions.
                "--quota-backend-bytes=8589934592".to_owned(),
                "--log-level=error".to_owned(),
            ]
        }
        Kind::Kine => vec![
            format!("--endpoint={endpoint}"),
            format!("--listen-address=127.0.0.1:{port}"),
            "--metrics-bind-address=0".to_owned(),
        ],
        Kind::DatastoreProxy => vec![
            "serve".to_owned(),
            format!("--endpoint={endpoint}"),
            format!("--listen=127.0.0.1:{port}"),
            "--insecure-loopback".to_owned(),
            "--set=common.admin_listen=127.0.0.1:0".to_owned(),
            // Where it may have other replicas.
            "--set=peer.listen=127.0.0.1:0".to_owned(),
        ],
    };
    Ok(arguments)
}

/// A port that nobody listens on.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?.port())
}

impl Server {
    async fn answers(&mut self, started: Instant, log: &Path) -> Result<()> {
        let mut last = String::new();
        while started.elapsed() < WITHIN {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{} ended with {status}: {log}", self.kind);
            }
            let asked = async {
                let mut kv = KvClient::new(self.endpoint()?.connect().await?);
                kv.range(shape::get(&Bytes::from_static(b"/registry/health")))
                    .await?;
                anyhow::Ok(())
            };
            match asked.await {
                Ok(()) => return Ok(()),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("{} doesn't answer within {WITHIN:?}: {last}", self.kind)
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port))?;
        Ok(endpoint
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20))
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Channel> {
        let connected = self.endpoint()?.connect().await;
        connected.with_context(|| format!("connecting to {}", self.kind))
    }

    /// A client on a connection of its own.
    pub async fn kv(&self) -> Result<KvClient<Channel>> {
        Ok(kv(self.connect().await?))
    }

    /// A watching client on a connection of its own.
    pub async fn watcher(&self) -> Result<WatchClient<Channel>> {
        Ok(WatchClient::new(self.connect().await?).max_decoding_message_size(usize::MAX))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in MiB.
    pub fn rss(&self) -> Result<f64> {
        proc::rss(self.pid())
    }

    /// Size of one of its files in MiB, 0 if there is none.
    pub fn file(&self, name: &str) -> f64 {
        let size = std::fs::metadata(self.folder.join(name)).map_or(0, |file| file.len());
        size as f64 / f64::from(1 << 20)
    }

    /// Ends it as a container engine would.
    pub async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        kill(pid, Signal::SIGTERM).context("sending SIGTERM")?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > STOP_WITHIN {
                bail!("{} doesn't end within {STOP_WITHIN:?}", self.kind);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// A client on `channel`.
pub fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
