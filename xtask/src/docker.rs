//! Docker: an engine that answers, and the client's plugins `compose` and `buildx`.

use crate::prerequisites::{Need, is_root, on_path};
use crate::{debian::Suite, paths, rootfs, run};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ENGINE: Need = Need {
    what: "a Docker engine",
    why: "the dev cluster runs in containers",
    packages: &["docker.io", "containerd", "runc", "iptables"],
    present: || on_path("dockerd") && on_path("docker"),
};

/// Plugins of the client, each with its package and what it is for.
const PLUGINS: &[(&str, &str, &str)] = &[
    (
        "compose",
        "docker-compose",
        "the dev cluster is a compose project",
    ),
    ("buildx", "docker-buildx", "images are built with BuildKit"),
];

/// A suite that has the plugins as packages; bookworm doesn't.
const SUITE: Suite = Suite::Other("trixie");

/// The engine as something to install, unless one answers already, here or elsewhere.
pub fn engine() -> Option<&'static Need> {
    let elsewhere = std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty());
    (!elsewhere && ask().is_err()).then_some(&ENGINE)
}

/// An engine that this run has started; it goes on when this value is dropped.
pub struct Started {
    dockerd: Child,
}

impl Started {
    /// Stops the engine and waits until it is gone.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.dockerd.id()).context("dockerd's process id")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("stopping dockerd")?;
        self.dockerd
            .wait()
            .map(drop)
            .context("waiting for dockerd's end")
    }
}

/// Waits for the engine's answer, and starts it where nothing else does.
pub fn ensure_answer() -> Result<Option<Started>> {
    let Err(error) = ask() else { return Ok(None) };
    if let Some(host) = std::env::var_os("DOCKER_HOST").filter(|host| !host.is_empty()) {
        let host = host.to_string_lossy();
        return Err(error.context(format!("no Docker engine answers at DOCKER_HOST={host}")));
    }
    if !is_root() {
        return Err(error.context(
            "no Docker engine answers this user: start it, or add the user to the group docker, and try again",
        ));
    }
    // Where an init system runs, the package has started the engine.
    if wait(Duration::from_secs(5)).is_ok() {
        return Ok(None);
    }
    start().map(Some)
}

/// Starts the engine by hand, where no init system does.
fn start() -> Result<Started> {
    let log = paths::cache()?.join("dockerd.log");
    eprintln!(
        "      no Docker engine answers: starting dockerd (log {})",
        log.display()
    );
    let file =
        std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    // In a process group of its own, so that Ctrl-C here doesn't stop it.
    let mut dockerd = Command::new("dockerd")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .context("starting dockerd")?;
    let Err(error) = wait(Duration::from_secs(60)) else {
        return Ok(Started { dockerd });
    };
    let _ = dockerd.kill();
    bail!(
        "dockerd doesn't answer within 60 s: {error:#}. The end of {}:\n{}",
        log.display(),
        run::tail(&log, 15)
    )
}

/// Compose v2 and BuildKit's client.
pub fn ensure_plugins() -> Result<()> {
    for (plugin, package, why) in PLUGINS {
        let version = || run::output(Command::new("docker").args([plugin, "version"]));
        if version().is_ok() {
            continue;
        }
        eprintln!("      missing: docker {plugin} ({why})");
        if !on_path("apt-get") {
            bail!("install Docker's {plugin} plugin and try again");
        }
        let target = folder()?.join(format!("docker-{plugin}"));
        eprintln!(
            "      installing {} from Debian's {package}",
            target.display()
        );
        let unpacked = SUITE.unpacked(&[package]).with_context(|| {
            format!("`docker {plugin}` is missing; it can also be installed by hand")
        })?;
        let program = format!("usr/libexec/docker/cli-plugins/docker-{plugin}");
        rootfs::install(&unpacked.join(program), &target, 0o755)?;
        version()?;
    }
    Ok(())
}

/// Where the client looks for plugins: for everyone, or for this user alone.
fn folder() -> Result<PathBuf> {
    if is_root() {
        return Ok("/usr/local/lib/docker/cli-plugins".into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(PathBuf::from(home).join(".docker/cli-plugins"))
}

/// The engine's version, or why there is none.
fn ask() -> Result<String> {
    run::output(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]))
}

fn wait(limit: Duration) -> Result<String> {
    let started = Instant::now();
    loop {
        match ask() {
            Err(_) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(300)),
            answer => return answer,
        }
    }
}
