//! The node image's root file system: only the files that containerd, kubelet, kube-proxy and the CNI plugins
//! call, out of Debian's packages, with the libraries these files need. No shell.

mod prometheus;

pub use prometheus::{of_prometheus, prometheus};

use crate::{debian::Suite, paths, run};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages that the files below come from.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "libblkid1",
    "libc6",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libgmp10",
    "libjansson4",
    "libmnl0",
    "libmount1",
    "libnftables1",
    "libnftnl11",
    "libpcre2-8-0",
    "libselinux1",
    "libsmartcols1",
    "libtinfo6",
    "libxtables12",
    "mount",
    "netbase",
    "nftables",
];

/// Programs, each with who calls it.
const PROGRAMS: &[(&str, &str)] = &[
    ("bin/mount", "kubelet mounts volumes"),
    ("bin/umount", "kubelet unmounts volumes"),
    ("usr/sbin/nft", "kube-proxy and portmap program nftables"),
];

/// Tables that `nft` reads protocol and port names from.
const FILES: &[&str] = &["etc/protocols", "etc/services"];

const MERGED: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];

/// Where the dynamic linker looks.
const LIBRARIES: &[&str] = &["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// Lays the Debian part of the node image out in `target`.
pub fn node(target: &Path) -> Result<()> {
    let unpacked = Suite::Own.unpacked(PACKAGES)?;
    let mut wanted: BTreeSet<PathBuf> = PROGRAMS.iter().map(|(path, _)| path.into()).collect();
    wanted.extend(libraries(&unpacked, wanted.clone())?);
    for file in wanted.iter().chain([&PathBuf::from(LOADER)]) {
        install(&unpacked.join(file), &target.join(merged(file)), 0o755)?;
    }
    for (link, folder) in MERGED {
        paths::create(&target.join(folder))?;
        symlink(folder, target.join(link))?;
    }
    for file in FILES {
        install(&unpacked.join(file), &target.join(file), 0o644)?;
    }
    certificates(&unpacked, &target.join("etc/ssl/certs/ca-certificates.crt"))
}

/// `/bin`, `/lib` and so on are links into `/usr`, as on every current system.
fn merged(file: &Path) -> PathBuf {
    if file.starts_with("usr") {
        file.to_owned()
    } else {
        Path::new("usr").join(file)
    }
}

/// Copies a file (through links) and sets its mode.
pub fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    paths::create(to.parent().unwrap_or(Path::new("/")))?;
    std::fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", to.display()))
}

/// Every library that `programs` need, directly or through another library.
fn libraries(unpacked: &Path, programs: BTreeSet<PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = programs.into_iter().collect();
    while let Some(file) = open.pop() {
        for name in needed(&unpacked.join(&file))? {
            let Some(library) = LIBRARIES
                .iter()
                .map(|folder| Path::new(folder).join(&name))
                .find(|path| unpacked.join(path).exists())
            else {
                if name.starts_with("ld-linux") {
                    continue;
                }
                bail!(
                    "{} needs {name}, which no listed package holds",
                    file.display()
                );
            };
            if found.insert(library.clone()) {
                open.push(library);
            }
        }
    }
    Ok(found)
}

fn needed(file: &Path) -> Result<Vec<String>> {
    let text = run::output(Command::new("readelf").arg("-d").arg(file))?;
    Ok(text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
        .collect())
}

/// Debian makes this bundle when the package is configured; here nothing is configured.
fn certificates(unpacked: &Path, bundle: &Path) -> Result<()> {
    let folder = unpacked.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut text = String::new();
    for file in files {
        text.push_str(&std::fs::read_to_string(&file)?);
    }
    paths::create(bundle.parent().unwrap_or(Path::new("/")))?;
    std::fs::write(bundle, text).with_context(|| format!("writing {}", bundle.display()))
}
