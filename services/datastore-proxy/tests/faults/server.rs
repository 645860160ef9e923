//! The real process, with a hand on its files.

use sextant_testkit::{Process, free_port};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// A store in a folder of its own, and the process that serves it; the process may come and go.
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    shim: Option<&'static Path>,
    /// Where the data is; `None`: in the folder.
    endpoint: Option<String>,
    peer: u16,
    process: Option<Process>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(None, None)
    }

    /// One of several replicas.
    pub fn replica(endpoint: String) -> Self {
        Self::with(None, Some(endpoint))
    }

    /// Between it and its files stands `shim.c`. `None`, after a line `SKIP …`, where that can't be made.
    pub fn start_shimmed() -> Option<Self> {
        Some(Self::with(Some(shim()?), None))
    }

    fn with(shim: Option<&'static Path>, endpoint: Option<String>) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            peer: free_port(),
            shim,
            endpoint,
            process: None,
        };
        for folder in ["data", "control"] {
            std::fs::create_dir(server.path(folder)).unwrap();
        }
        server.restart();
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Where the shim records what was done to the files.
    pub fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    pub fn restart(&mut self) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_datastore-proxy"));
        command.args(["serve", "--insecure-loopback", "--endpoint"]);
        let file = || format!("sqlite://{}", self.data().join("state.db").display());
        command.arg(self.endpoint.clone().unwrap_or_else(file));
        command.args(["--listen", &format!("127.0.0.1:{}", self.port), "--set"]);
        command.arg(format!("common.admin_listen=127.0.0.1:{}", free_port()));
        command.args(["--set", &format!("peer.listen=127.0.0.1:{}", self.peer)]);
        if let Some(shim) = self.shim {
            command
                .env("LD_PRELOAD", shim)
                .env("SHIM_FOLDER", self.data())
                .env("SHIM_CONTROL", self.path("control"))
                .env("SHIM_TRACE", self.trace());
        }
        self.process = Some(Process::start(command).unwrap());
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGKILL);
        let mut process = self.process.take().unwrap();
        process.wait(Duration::from_secs(10)).await;
    }

    /// Whether it runs; one that has ended by itself is started again.
    pub fn revive(&mut self) {
        if !self.process.as_mut().is_some_and(Process::is_running) {
            self.restart();
        }
    }

    /// Has the shim do `what` from now on, or no longer.
    pub fn order(&self, what: &str, on: bool) {
        let path = self.path("control").join(what);
        if on {
            std::fs::write(path, "").unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    pub fn output(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::output)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{} said:\n{}", self.url(), self.output());
        }
    }
}

/// The shim, built once.
fn shim() -> Option<&'static Path> {
    static SHIM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match SHIM.get_or_init(build_shim) {
        Ok(library) => Some(library),
        Err(reason) => {
            println!("SKIP nothing can be put between the process and its files: {reason}");
            None
        }
    }
}

fn build_shim() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
    // Another run may be loading it.
    let building = library.with_extension(std::process::id().to_string());
    let built = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&building, &source])
        .arg("-ldl")
        .output()
        .map_err(|error| format!("starting gcc: {error}"))?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    std::fs::rename(&building, &library).map_err(|error| error.to_string())?;
    Ok(library)
}
