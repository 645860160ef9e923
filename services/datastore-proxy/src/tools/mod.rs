//! What operators run beside `serve`.

mod check;
mod import;
mod migrate;
mod progress;
mod snapshot;

use crate::config::{Config, Endpoint};
use crate::error::Error;
use crate::store::sqlite::{self, Claim};
use clap::ArgMatches;
use sextant_kit::cli::Command;
use sextant_kit::config::Sources;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// All of them.
pub fn commands() -> Vec<Command> {
    vec![
        check::command(),
        import::command(),
        migrate::command(),
        snapshot::command(),
    ]
}

/// The SQLite file of the configuration: `--endpoint`, or what the file and the environment say.
fn store(sources: &Sources) -> anyhow::Result<PathBuf> {
    match sources.load::<Config>()?.endpoint()? {
        Endpoint::Sqlite(path) => Ok(path),
        Endpoint::Etcd(_) | Endpoint::Server(_) => Err(Error::NotAFile.into()),
    }
}

/// A path that clap has made sure of.
fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    matches
        .get_one::<PathBuf>(name)
        .cloned()
        .unwrap_or_default()
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// A failure to do something with a file.
fn file(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::FileAccess {
        doing: doing.to_owned(),
        path: path.to_owned(),
        found: error.to_string(),
    }
}

/// Claims the place of a store that isn't there yet.
fn claim_new(store: &Path) -> Result<Claim, Error> {
    let claim = Claim::new(store)?;
    for taken in [store.to_owned(), sqlite::sibling(store, "-wal")] {
        if taken.exists() {
            return Err(Error::Exists(taken));
        }
    }
    Ok(claim)
}

/// Gives a whole file its name, so that it survives a power cut.
fn publish(target: &File, part: &Path, to: &Path) -> Result<(), Error> {
    let published = target
        .sync_all()
        .and_then(|()| std::fs::rename(part, to))
        .and_then(|()| {
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
    published.map_err(|e| file("keeping", to, &e))
}
