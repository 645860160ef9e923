//! What must hold for the tree of dependencies.
//!
//! `deny.toml` says the same and more to cargo-deny; this needs nothing but Cargo.

use crate::{paths, run, services};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The only source of crates that aren't ours.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One TLS and one library of primitives: rustls over aws-lc-rs.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// Crates whose types meet at the borders of others, or that are too large to have twice.
const ONCE: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "http",
    "hyper",
    "prost",
    "rustls",
    "rustls-webpki",
    "tokio",
    "tonic",
    "tower",
];

/// The versions of each crate that are in the tree.
type Tree = BTreeMap<String, BTreeSet<String>>;

/// Checks the tree of the target that is shipped, tests and build scripts included.
pub fn check() -> Result<()> {
    // `cargo metadata` would also list what only a weak feature names (`ring?/alloc`), which is never built.
    let listed = run::output(Command::new("cargo").current_dir(paths::root()).args([
        "tree",
        "--locked",
        "--workspace",
        "--target",
        services::TARGET,
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
    ]))?;
    let lock = paths::root().join("Cargo.lock");
    let lock =
        std::fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let mut problems = tree_problems(&parse(&listed));
    problems.extend(source_problems(&lock));
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Reads lines like `tonic v0.14.9 (*)`.
fn parse(listed: &str) -> Tree {
    let mut tree = Tree::new();
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            tree.entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    tree
}

fn tree_problems(tree: &Tree) -> Vec<String> {
    let banned = BANNED.iter().filter(|name| tree.contains_key(**name)).map(|name| {
        format!("{name} is in the tree and mustn't be; `cargo tree --workspace --invert {name}` says who wants it")
    });
    let once = ONCE.iter().filter_map(|name| {
        let versions: Vec<&str> = tree.get(*name)?.iter().map(String::as_str).collect();
        (versions.len() > 1).then(|| {
            format!(
                "{name} is in the tree in several versions: {}",
                versions.join(", ")
            )
        })
    });
    banned.chain(once).collect()
}

fn source_problems(lock: &str) -> Vec<String> {
    let sources: BTreeSet<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(|source| source.trim_matches('"'))
        .filter(|source| *source != REGISTRY)
        .collect();
    sources
        .into_iter()
        .map(|source| format!("Cargo.lock names {source}; crates come from crates.io only"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "xtask v0.1.0 (/x)\n\nrustls v0.23.46\nrustls v0.23.46 (*)\nserde_derive v1.0.0 (proc-macro)";

    #[test]
    fn a_tree_is_judged() {
        assert_eq!(tree_problems(&parse(GOOD)), [""; 0]);
        let bad = format!("{GOOD}\nring v0.17.14\nrustls v0.22.0");
        let found = tree_problems(&parse(&bad));
        assert!(found[0].contains("ring is in the tree"), "{found:?}");
        assert!(found[1].contains("v0.22.0, v0.23.46"), "{found:?}");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn sources_are_judged() {
        assert_eq!(
            source_problems(&format!("source = \"{REGISTRY}\"")),
            [""; 0]
        );
        let found = source_problems("name = \"x\"\nsource = \"git+https://example.org/x#1\"");
        assert!(
            found[0].contains("git+https://example.org/x#1"),
            "{found:?}"
        );
    }
}
