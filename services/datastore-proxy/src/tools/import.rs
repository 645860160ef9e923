//! `import-kine`: what K3s has stored becomes a store.

mod kine;

use super::progress::Progress;
use super::{check, claim_new, file, publish};
use crate::config::DatabaseConfig;
use crate::domain::lease::{Lease, MIN_TTL};
use crate::error::Error;
use crate::store::sqlite::fill::Filler;
use crate::store::sqlite::{self, contents};
use clap::{Arg, ArgMatches, value_parser};
use kine::{Kine, Translation};
use sextant_kit::cli::Command;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What wrote the leased keys of a K3s cluster, and owns their leases from now on.
const OWNER: &str = "kube-apiserver";

pub(super) fn command() -> Command {
    let file = |name: &'static str, help: &'static str| {
        let argument = Arg::new(name).long(name).help(help);
        let path = value_parser!(PathBuf);
        argument.value_name("FILE").value_parser(path)
    };
    let about =
        "Makes what K3s has stored with kine the store of --endpoint, a file that must not exist";
    let from = "A state.db, or postgres://user@host/database or mysql://user@host/database; K3s must be stopped";
    Command {
        clap: clap::Command::new("import-kine").about(about).args([
            Arg::new("from").help(from).required(true),
            file("password-file", "The password for the server"),
            file("ca-file", "The authorities of its certificate"),
        ]),
        run: |matches, sources| {
            super::finish(super::store(sources).and_then(|store| {
                import(matches, &store)?;
                Ok(ExitCode::SUCCESS)
            }))
        },
    }
}

fn import(matches: &ArgMatches, store: &Path) -> anyhow::Result<()> {
    let from = matches.get_one("from").map_or("", String::as_str);
    let config = DatabaseConfig {
        password_file: matches.get_one("password-file").cloned(),
        ca_file: matches.get_one("ca-file").cloned(),
    };
    let _claim = claim_new(store)?;
    let mut kine = Kine::open(from, &config)?;
    let part = sqlite::sibling(store, ".part");
    // What an import that was stopped has left.
    sqlite::remove(&part)?;
    make(&mut kine, from, &part, store).inspect_err(|_| {
        // Of no use to anybody, and as large as the store.
        let _ = std::fs::remove_file(&part);
    })?;
    println!("imported {from} to {}", store.display());
    Ok(())
}

/// Makes the store in `part`, compares and checks it, and gives it its name.
fn make(kine: &mut Kine, from: &str, part: &Path, store: &Path) -> anyhow::Result<()> {
    fill(kine, part)?;
    compare(kine, from, part)?;
    let report = check::inspect(part)?;
    check::print(store, &report);
    if let Some(problem) = report.problems.first() {
        return Err(Error::Import {
            from: from.to_owned(),
            found: problem.found.clone(),
        }
        .into());
    }
    let whole = File::open(part).map_err(|error| file("keeping", store, &error))?;
    Ok(publish(&whole, part, store)?)
}

fn fill(kine: &mut Kine, part: &Path) -> anyhow::Result<()> {
    let mut filler = Filler::new(part)?;
    for ttl in kine.lease_seconds()? {
        // kine numbers leases by their seconds, and counts them from when it starts.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let (id, ttl) = (ttl, ttl.max(MIN_TTL));
        let deadline = Lease::deadline(ttl, now);
        let owner = OWNER.to_owned();
        filler.lease(&Lease {
            id,
            ttl,
            deadline,
            owner,
        })?;
    }
    let mut progress = Progress::new("rows imported", kine.rows()?);
    let mut translation = Translation::default();
    kine.each(&mut |row| {
        progress.add(1);
        match translation.next(row) {
            Some(write) => filler.add(&write),
            None => Ok(()),
        }
    })?;
    filler.imported(kine.newest()?)?;
    filler.finish(kine.compacted()?)?;
    Ok(())
}

/// Whether both hold the same keys with the same values, revisions and leases.
fn compare(kine: &mut Kine, from: &str, part: &Path) -> anyhow::Result<()> {
    let (wanted, found) = (kine.contents()?, contents::contents(part)?);
    println!(
        "digest of {} keys: {}",
        wanted.len(),
        contents::digest(&wanted)
    );
    if wanted == found {
        return Ok(());
    }
    let differs = |key: &&Vec<u8>| wanted.get(*key) != found.get(*key);
    let key = wanted.keys().chain(found.keys()).find(differs);
    let found = key.map_or_else(String::new, |key| format!("key \"{}\"", key.escape_ascii()));
    Err(Error::Import {
        from: from.to_owned(),
        found,
    }
    .into())
}
