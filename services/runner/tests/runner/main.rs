//! The runner between its neighbours, with a small program in the place of kube-apiserver.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

mod api;
mod neighbours;
mod rollout;
mod start;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use support::{Surroundings, config};

const DEADLINE: Duration = Duration::from_secs(20);

/// The example `component`, which cargo builds beside the tests.
fn component() -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let found = own.parent()?.parent()?.join("examples/component");
    if !found.exists() {
        println!(
            "SKIP {} isn't there: cargo test builds it unless told --test",
            found.display()
        );
        return None;
    }
    Some(found)
}

/// Flags of a component that serves on a free port, with certificates below `folder`.
fn flags(folder: &Path, more: &[&str]) -> Vec<String> {
    let pki = folder.join("run/pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let mut flags = vec![
        format!("--secure-port={}", sextant_testkit::free_port()),
        "--advertise-address={{ADVERTISE_ADDRESS}}".to_owned(),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "cluster-client-ca.pem"),
    ];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    flags
}

/// Surroundings that want a component with these flags and files.
async fn surroundings(more: &[&str], files: &[(&str, &str, bool)]) -> Surroundings {
    let surroundings = Surroundings::new(config(Vec::new(), &[])).await;
    let flags = flags(surroundings.folder.path(), more);
    surroundings.wanted.send_replace(config(flags, files));
    surroundings
}

fn read(surroundings: &Surroundings, path: &str) -> String {
    fs::read_to_string(surroundings.run_folder().join(path)).unwrap_or_default()
}

/// Process ids of the component, of this test alone: its flags name this folder.
fn processes(surroundings: &Surroundings) -> Vec<(u32, String)> {
    let folder = surroundings.folder.path().display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let command = |pid: u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.contains(&folder)
            .then(|| (pid, line.replace('\0', " ")))
    };
    all.filter_map(|entry| command(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}
