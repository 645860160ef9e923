//! What a machine needs before anything is built, and how it gets there.
//!
//! Present things are used as they are. On Debian, as root, missing things are installed, each with a line that
//! says why. Anywhere else the task ends with the list of what to install.

use crate::{docker, paths, run};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Something that a Debian package brings.
pub struct Need {
    /// What a user calls it.
    pub what: &'static str,
    /// What wants it.
    pub why: &'static str,
    /// Debian's names.
    pub packages: &'static [&'static str],
    /// Whether this machine has it.
    pub present: fn() -> bool,
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
        what: "openssl",
        why: "tests look at certificates and handshakes with another implementation",
        packages: &["openssl"],
        present: || on_path("openssl"),
    },
    Need {
        what: "libfaketime",
        why: "tests run services at another time of day",
        packages: &["faketime"],
        present: || on_path("faketime"),
    },
    Need {
        what: "valgrind",
        why: "tests count instructions of datastore-proxy's engine",
        packages: &["valgrind"],
        present: has_valgrind,
    },
    Need {
        what: "PostgreSQL",
        why: "tests of datastore-proxy start servers of their own",
        packages: &["postgresql"],
        present: || installed("/usr/lib/postgresql", "bin/initdb"),
    },
    Need {
        what: "MariaDB",
        why: "tests of datastore-proxy start servers of their own",
        // What makes a data folder calls a program of the other, which doesn't come with it.
        packages: &["mariadb-server-core", "mariadb-client-core"],
        present: || {
            Path::new("/usr/sbin/mariadbd").exists()
                && on_path("mariadb-install-db")
                && on_path("my_print_defaults")
        },
    },
    Need {
        what: "ip",
        why: "tests make network namespaces",
        packages: &["iproute2"],
        present: || on_path("ip"),
    },
];

/// Two nodes with a dozen containers watch more files than most kernels allow by default.
const INOTIFY_INSTANCES: u32 = 1024;

/// A first build fills about this much: caches of Cargo and Go, programs, images.
const GIBIBYTES: u64 = 12;

/// Checks and installs what building and running the dev cluster needs.
pub fn ensure() -> Result<()> {
    ensure_with(&[]).map(drop)
}

/// Checks and installs what the benchmark of the datastores needs: no containers.
pub fn ensure_for_benchmarks() -> Result<()> {
    toolchains()?;
    install(NEEDS.iter())
}

/// Whether instructions can be counted.
pub fn has_valgrind() -> bool {
    on_path("valgrind")
}

/// The same, and what the tests need beside it. An engine that had to be started for them is returned.
pub fn ensure_for_tests() -> Result<Option<docker::Started>> {
    ensure_with(TEST_NEEDS)
}

fn ensure_with(more: &[Need]) -> Result<Option<docker::Started>> {
    toolchains()?;
    space()?;
    install(NEEDS.iter().chain(more).chain(docker::engine()))?;
    let started = docker::ensure_answer()?;
    docker::ensure_plugins()?;
    inotify()?;
    Ok(started)
}

/// Toolchains are the user's choice: they are only checked. Cargo compares its own version with the workspace's.
fn toolchains() -> Result<()> {
    for (program, argument, wanted) in [("cargo", "--version", (1, 95)), ("go", "version", (1, 26))]
    {
        let name = format!("{program} {}.{}", wanted.0, wanted.1);
        if !on_path(program) {
            bail!("{program} is not on the PATH: install {name} or newer and try again");
        }
        let said = run::output(Command::new(program).arg(argument))?;
        if version(&said).is_some_and(|found| found < wanted) {
            bail!("`{program} {argument}` says “{said}”: install {name} or newer and try again");
        }
    }
    Ok(())
}

/// Major and minor version out of `cargo 1.95.0 (…)` or `go version go1.26.8 linux/amd64`.
fn version(said: &str) -> Option<(u32, u32)> {
    said.split_whitespace().find_map(|word| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let mut numbers = digits.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

/// Says when the disk is too small for a first build; it doesn't know what is built already.
fn space() -> Result<()> {
    for folder in [paths::root(), paths::cache()?] {
        let disk = nix::sys::statvfs::statvfs(&folder)
            .with_context(|| format!("asking for the free space of {}", folder.display()))?;
        let free = disk.blocks_available() * disk.fragment_size() / (1 << 30);
        if free < GIBIBYTES {
            eprintln!(
                "      only {free} GiB are free at {}; a first build takes about {GIBIBYTES} GiB",
                folder.display()
            );
            break;
        }
    }
    Ok(())
}

fn install<'a>(needs: impl Iterator<Item = &'a Need>) -> Result<()> {
    let missing: Vec<&Need> = needs.filter(|need| !(need.present)()).collect();
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
            // A machine that has just booted may be busy with its own updates.
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&packages),
    )?;
    match missing.iter().find(|need| !(need.present)()) {
        Some(need) => bail!("{} is still missing after the installation", need.what),
        None => Ok(()),
    }
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

/// Whether there is such a program; also where only root's `PATH` leads.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| folder.join(program).is_file())
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

/// Whether `file` is in one of the versions that `folder` holds.
fn installed(folder: &str, file: &str) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut versions| {
        versions.any(|version| version.is_ok_and(|version| version.path().join(file).exists()))
    })
}

/// Whether this process may install and start things.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn reads_versions_of_toolchains() {
        assert_eq!(
            version("cargo 1.95.0 (f2d3ce0bd 2026-03-21)"),
            Some((1, 95))
        );
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("go version go1.27rc1 linux/amd64"), Some((1, 27)));
        assert_eq!(
            version("go version devel go1.28-2f1a6b linux/amd64"),
            Some((1, 28))
        );
        assert_eq!(version("something else"), None);
    }
}
