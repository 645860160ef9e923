//! What a machine needs before anything is built, and how it gets there.
//!
//! Present things are used as they are. On Debian, as root, missing things are installed, each with a line that
//! says why. Anywhere else the task ends with the list of what to install.

use crate::{debian::Suite, paths, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Something that a Debian package brings.
struct Need {
    what: &'static str,
    why: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler",
        why: "runc, pause and aws-lc are C",
        packages: &["gcc", "libc6-dev", "binutils"],
        present: || on_path("gcc") && on_path("readelf") && exists("/usr/include/stdio.h"),
    },
    Need {
        what: "pkg-config",
        why: "runc finds libseccomp with it",
        packages: &["pkg-config"],
        present: || on_path("pkg-config"),
    },
    Need {
        what: "libseccomp-dev",
        why: "runc is linked with it; pods with a seccomp profile need it",
        packages: &["libseccomp-dev"],
        present: || exists("/usr/include/seccomp.h"),
    },
    Need {
        what: "protoc with its standard definitions",
        why: "the etcd-client crate compiles its API with it",
        packages: &["protobuf-compiler", "libprotobuf-dev"],
        present: || on_path("protoc") && exists("/usr/include/google/protobuf/descriptor.proto"),
    },
    Need {
        what: "cmake",
        why: "aws-lc is configured with it",
        packages: &["cmake"],
        present: || on_path("cmake"),
    },
];

/// Needed by the tests only.
const TEST_NEEDS: &[Need] = &[
    Need {
        what: "nft",
        why: "tests read back what the kernel holds",
        packages: &["nftables"],
        present: || on_path("nft"),
    },
    Need {
        what: "curl",
        why: "tests ask ports without a credential",
        packages: &["curl"],
        present: || on_path("curl"),
    },
    Need {
        what: "ip",
        why: "tests make network namespaces",
        packages: &["iproute2"],
        present: || on_path("ip"),
    },
];

const DOCKER: Need = Need {
    what: "a Docker engine",
    why: "the dev cluster runs in containers",
    packages: &["docker.io", "containerd", "runc", "iptables"],
    present: || on_path("dockerd"),
};

/// Two nodes with a dozen containers watch more files than most kernels allow by default.
const INOTIFY_INSTANCES: u32 = 1024;

/// Checks and installs what building and running the dev cluster needs.
pub fn ensure() -> Result<()> {
    toolchains()?;
    install(NEEDS)?;
    docker()?;
    docker_plugins()?;
    inotify()
}

/// The same, and what the tests need beside it.
pub fn ensure_for_tests() -> Result<()> {
    ensure()?;
    install(TEST_NEEDS)
}

/// Toolchains are the user's choice: they are only checked.
fn toolchains() -> Result<()> {
    for (program, argument, wanted) in [("cargo", "--version", "1.95"), ("go", "version", "1.26")] {
        if !on_path(program) {
            bail!("{program} is not on the PATH; install version {wanted} or newer and try again");
        }
        run::output(Command::new(program).arg(argument))?;
    }
    Ok(())
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("      missing: {} ({})", need.what, need.why);
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    if !(on_path("apt-get") && is_root()) {
        bail!(
            "this machine lacks what is listed above, and only root on Debian can install it here; \
             install the equivalent of the Debian packages {} and try again",
            packages.join(" ")
        );
    }
    eprintln!("      installing with apt-get: {}", packages.join(" "));
    run::logged(
        "apt-get update",
        Command::new("apt-get").args(["update", "-q"]),
    )?;
    run::logged(
        "apt-get install",
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&packages),
    )?;
    match missing.iter().find(|need| !(need.present)()) {
        Some(need) => bail!("{} is still missing after the installation", need.what),
        None => Ok(()),
    }
}

fn docker() -> Result<()> {
    if docker_answers() {
        return Ok(());
    }
    if let Some(host) = std::env::var_os("DOCKER_HOST").filter(|host| !host.is_empty()) {
        bail!(
            "no Docker engine answers at DOCKER_HOST={}",
            host.to_string_lossy()
        );
    }
    install(std::slice::from_ref(&DOCKER))?;
    // Where an init system runs, the package has started the engine.
    if wait_for_docker(Duration::from_secs(5)) {
        return Ok(());
    }
    if !is_root() {
        bail!("no Docker engine answers `docker info`; start it, or add this user to its group");
    }
    start_dockerd()
}

/// Starts the engine by hand, where no init system does.
fn start_dockerd() -> Result<()> {
    let log = paths::cache()?.join("dockerd.log");
    eprintln!(
        "      no init system runs the Docker engine: starting dockerd (log {})",
        log.display()
    );
    let file =
        std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let child = Command::new("setsid")
        .arg("dockerd")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .context("starting dockerd")?;
    if wait_for_docker(Duration::from_secs(60)) {
        return std::fs::write(dockerd_pid()?, child.id().to_string())
            .context("writing the process id of dockerd");
    }
    bail!(
        "dockerd didn't answer within 60 s. The end of {}:\n{}",
        log.display(),
        run::tail(&log, 15)
    )
}

/// Where the process id of a dockerd that we started is kept.
pub fn dockerd_pid() -> Result<PathBuf> {
    Ok(paths::cache()?.join("dockerd.pid"))
}

/// Compose v2 and BuildKit's client, static programs that bookworm doesn't have and newer suites do.
fn docker_plugins() -> Result<()> {
    for (plugin, package) in [("compose", "docker-compose"), ("buildx", "docker-buildx")] {
        if run::succeeds(Command::new("docker").args([plugin, "version"])) {
            continue;
        }
        if !on_path("apt-get") {
            bail!("`docker {plugin}` is missing; install Docker's {plugin} plugin and try again");
        }
        eprintln!("      missing: docker {plugin}; taking package {package} from Debian forky");
        let unpacked = Suite::Other("forky").unpacked(&[package])?;
        let name = format!("docker-{plugin}");
        crate::rootfs::install(
            &unpacked.join("usr/libexec/docker/cli-plugins").join(&name),
            &plugin_folder()?.join(&name),
            0o755,
        )?;
        run::output(Command::new("docker").args([plugin, "version"]))?;
    }
    Ok(())
}

fn plugin_folder() -> Result<PathBuf> {
    if is_root() {
        return Ok("/usr/local/lib/docker/cli-plugins".into());
    }
    Ok(
        PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
            .join(".docker/cli-plugins"),
    )
}

fn inotify() -> Result<()> {
    let file = Path::new("/proc/sys/fs/inotify/max_user_instances");
    let now: u32 = std::fs::read_to_string(file)
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(u32::MAX);
    if now >= INOTIFY_INSTANCES {
        return Ok(());
    }
    eprintln!(
        "      fs.inotify.max_user_instances is {now}, two nodes need more: setting {INOTIFY_INSTANCES}"
    );
    std::fs::write(file, INOTIFY_INSTANCES.to_string()).with_context(|| {
        format!("run as root: sysctl -w fs.inotify.max_user_instances={INOTIFY_INSTANCES}")
    })
}

fn docker_answers() -> bool {
    run::succeeds(Command::new("docker").arg("info"))
}

fn wait_for_docker(limit: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if docker_answers() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    false
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
