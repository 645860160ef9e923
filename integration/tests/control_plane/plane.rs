//! A control plane on loopback: configuration, processes and identities.

mod identities;
mod ports;
mod program;
mod settings;

pub use program::{called, no_faketime, shift_clock};

use self::ports::{Ports, loopback};
use crate::part::Part;
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use sextant_kit::{Context, DrainTrigger, http};
use sextant_testkit::{Process, eventually};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tempfile::TempDir;

/// Longest time for anything that ought to happen by itself, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// An admin port answers at once, or not at all.
const QUICK: Duration = Duration::from_secs(5);
/// All metrics of a part are far less.
const LONGEST: u64 = 16 << 20;

/// Identities that enrol by token here: everybody but cert-authority, which has no need to.
const ENROLLING: [&str; 9] = [
    "admin",
    "collector",
    "datastore-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "netpol-controller",
    "supervisor",
    "token-service",
];

/// The control plane. Its processes are killed and its folders removed when it is dropped.
pub struct Plane {
    folder: TempDir,
    ports: BTreeMap<Part, Ports>,
    running: BTreeMap<Part, Process>,
    /// What processes said that have ended by now.
    said: String,
    /// Where our own identities live.
    pub context: Context,
    _trigger: DrainTrigger,
    /// What processes that are started from now on find in their environment.
    pub environment: Vec<(String, String)>,
    /// How far the clocks of processes that are started from now on are off, as libfaketime wants it.
    pub clock: Option<String>,
}

impl Plane {
    /// Folders and configuration; nothing runs yet.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sextant-").tempdir()?;
        let ports = Part::ALL.map(|part| Ok((part, Ports::free()?)));
        let (context, trigger) = Context::new();
        let plane = Self {
            folder,
            ports: ports.into_iter().collect::<Result<_>>()?,
            running: BTreeMap::new(),
            said: String::new(),
            context,
            _trigger: trigger,
            environment: Vec::new(),
            clock: None,
        };
        for identity in ENROLLING {
            std::fs::create_dir_all(plane.path("enrol").join(identity))?;
        }
        for name in ["authority", "seal", "datastore", "nodes/node-1"] {
            std::fs::create_dir_all(plane.path(name))?;
        }
        for part in Part::ALL {
            let text = plane.configuration(part).to_string();
            std::fs::write(plane.configuration_file(part), text)?;
        }
        Ok(plane)
    }

    /// A control plane that is ready.
    pub async fn ready() -> Result<Self> {
        let mut plane = Self::new()?;
        plane.start_all()?;
        plane.all_ready().await?;
        Ok(plane)
    }

    /// A path in the plane's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of the datastore.
    pub fn database(&self) -> PathBuf {
        self.path("datastore/state.db")
    }

    /// The YAML file a part is started with.
    pub fn configuration_file(&self, part: Part) -> PathBuf {
        self.path(&format!("{}.yaml", part.name()))
    }

    /// Where the other parts reach it.
    pub fn address(&self, part: Part) -> SocketAddr {
        loopback(self.ports[&part].main)
    }

    /// Its admin port.
    pub fn admin_address(&self, part: Part) -> SocketAddr {
        loopback(self.ports[&part].admin)
    }

    /// The supervisor's join API, node sessions and Admin.
    pub fn public_address(&self) -> SocketAddr {
        loopback(self.ports[&Part::Supervisor].public)
    }

    /// Where datastore-proxy listens for other replicas of its own.
    pub fn peer_address(&self) -> SocketAddr {
        loopback(self.ports[&Part::DatastoreProxy].public)
    }

    /// Where nobody listens, for a way to a part that can be closed.
    pub fn detour(&self) -> SocketAddr {
        loopback(self.ports[&Part::TokenService].public)
    }

    /// A port for what looks at the plane.
    pub fn prometheus_port(&self) -> u16 {
        self.ports[&Part::CertAuthority].public
    }

    /// Gives a part that doesn't run yet another setting than [`Self::new`].
    pub fn configure(&self, part: Part, setting: &str, value: Value) -> Result<()> {
        let file = self.configuration_file(part);
        let mut settings: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        settings[setting] = value;
        Ok(std::fs::write(file, settings.to_string())?)
    }

    /// The command that starts a part with its configuration file and these further arguments.
    pub fn command(&self, part: Part, arguments: &[&str]) -> Result<tokio::process::Command> {
        let mut command = called(part.program())?;
        if part == Part::Edge {
            command.arg("edge");
        }
        command
            .arg("--config")
            .arg(self.configuration_file(part))
            .args(arguments)
            .envs(self.environment.clone());
        shift_clock(&mut command, self.clock.as_deref());
        Ok(command)
    }

    /// Starts a part.
    pub fn start(&mut self, part: Part) -> Result<()> {
        let process = Process::start(self.command(part, &[])?)
            .with_context(|| format!("starting {}", part.name()))?;
        if let Some(before) = self.running.insert(part, process) {
            self.said.push_str(&before.output());
        }
        Ok(())
    }

    /// Starts all of them.
    pub fn start_all(&mut self) -> Result<()> {
        Part::ALL.into_iter().try_for_each(|part| self.start(part))
    }

    /// Runs the command line against the supervisor, and gives its exit code and what it wrote.
    pub async fn sextant(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let output = called("sextant")?
            .args(["--server", &self.address(Part::Edge).to_string()])
            .arg("--enrol-dir")
            .arg(self.path("enrol/admin"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(arguments)
            .output();
        let output = tokio::time::timeout(SOON, output).await??;
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().context("ended by a signal")?;
        Ok((code, String::from_utf8(said)?))
    }

    /// The process of a part.
    pub fn pid(&self, part: Part) -> Result<u32> {
        let process = self.running.get(&part);
        let process = process.with_context(|| format!("{} doesn't run", part.name()))?;
        Ok(process.pid())
    }

    /// Sends a signal to a part.
    pub fn signal(&self, part: Part, signal: Signal) {
        if let Some(process) = self.running.get(&part) {
            process.signal(signal);
        }
    }

    /// Waits for a part's end.
    pub async fn ended(&mut self, part: Part) -> Result<(ExitStatus, String)> {
        let mut process = self
            .running
            .remove(&part)
            .with_context(|| format!("{} doesn't run", part.name()))?;
        let status = process.wait(SOON).await;
        let output = process.output();
        self.said.push_str(&output);
        Ok((status, output))
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(&mut self, part: Part) -> Result<()> {
        self.signal(part, Signal::SIGKILL);
        self.ended(part).await.map(drop)
    }

    /// SIGTERM; it must end by itself and without an error.
    pub async fn stop(&mut self, part: Part) -> Result<()> {
        self.signal(part, Signal::SIGTERM);
        let (status, output) = self.ended(part).await?;
        ensure!(
            status.success(),
            "{} ended with {status} after SIGTERM:\n{output}",
            part.name()
        );
        Ok(())
    }

    /// Stops all of them, those first that others don't need.
    pub async fn stop_all(&mut self) -> Result<()> {
        for part in Part::ALL.into_iter().rev() {
            self.stop(part).await?;
        }
        Ok(())
    }

    /// What a part that runs has written.
    pub fn output(&self, part: Part) -> String {
        self.running
            .get(&part)
            .map_or_else(String::new, Process::output)
    }

    /// What all parts have written, those that ended by now included.
    pub fn all_output(&self) -> String {
        let running = self.running.values().map(Process::output);
        std::iter::once(self.said.clone()).chain(running).collect()
    }

    /// What a part's admin port tells under `/metrics`.
    pub async fn metrics(&self, part: Part) -> Result<String> {
        let (status, text) = get(self.admin_address(part), "/metrics").await?;
        ensure!(status == 200, "{}: {status}: {text}", part.name());
        Ok(text)
    }

    /// Status and text of `/readyz`.
    pub async fn readyz(&self, part: Part) -> Result<(u16, String)> {
        get(self.admin_address(part), "/readyz").await
    }

    /// Waits until a part is ready and lacks nothing.
    pub async fn is_ready(&self, part: Part) -> Result<()> {
        let what = format!("{} ready", part.name());
        eventually(SOON, &what, || async move {
            match self.readyz(part).await {
                Ok((200, text)) if text == "ok\n" => Ok(()),
                Ok((_, reasons)) => Err(reasons),
                Err(error) => Err(format!("{error:#}; its log: {}", tail(&self.output(part)))),
            }
        })
        .await;
        Ok(())
    }

    /// Waits until all are.
    pub async fn all_ready(&self) -> Result<()> {
        for part in Part::ALL {
            self.is_ready(part).await?;
        }
        Ok(())
    }

    /// Waits until a part isn't ready and names all of `words` as its reason.
    pub async fn waits_for(&self, part: Part, words: &[&str]) -> Result<()> {
        self.tells(part, 503, words).await
    }

    /// Waits until a part is ready, and names all of `words` as what it lacks.
    pub async fn is_degraded(&self, part: Part, words: &[&str]) -> Result<()> {
        self.tells(part, 200, &[&["degraded"], words].concat())
            .await
    }

    async fn tells(&self, part: Part, wanted: u16, words: &[&str]) -> Result<()> {
        let what = format!("{} tells {wanted} and {words:?}", part.name());
        eventually(SOON, &what, || async move {
            let (status, text) = self.readyz(part).await.map_err(|e| format!("{e:#}"))?;
            if status == wanted && words.iter().all(|word| text.contains(word)) {
                return Ok(());
            }
            Err(format!("{status}: {text}"))
        })
        .await;
        Ok(())
    }

    /// Nothing that was ever written holds any of these, nor a private key.
    pub fn no_secret_was_told(&self, secrets: &[String]) -> Result<()> {
        let output = self.all_output();
        ensure!(!output.is_empty(), "nothing was written at all");
        for secret in secrets.iter().map(String::as_str).chain(["PRIVATE KEY"]) {
            if let Some(line) = output.lines().find(|line| line.contains(secret)) {
                bail!("a secret was written: {line}");
            }
        }
        Ok(())
    }
}

/// The last lines of a log.
pub fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// One GET of an admin port.
async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let answer = http::get(address, path, LONGEST, QUICK).await;
    let answer = answer.with_context(|| format!("{address}{path}"))?;
    Ok((answer.status, answer.body))
}
