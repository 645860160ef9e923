//! `snapshot save`, `restore` and `verify`: copies of a store with their SHA-256 at the end, as the RPC sends them.

use super::progress::Progress;
use super::{check, claim_new, file, path, publish};
use crate::app::App;
use crate::error::Error;
use crate::store::sqlite::inspect::Report;
use crate::store::sqlite::{self, rewind};
use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use clap::{Arg, ArgMatches, value_parser};
use sextant_kit::cli::Command;
use sextant_kit::config::Sources;
use sextant_kit::service::Service as _;
use sextant_kit::telemetry::{self, Traces};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing::field::Empty;
use tracing::{Span, info_span};

const PIECE: usize = 1 << 20;

pub(super) fn command() -> Command {
    let clap = clap::Command::new("snapshot")
        .about("Saves, verifies and restores a store")
        .subcommand_required(true)
        .subcommands([save_arguments(), verify_arguments(), restore_arguments()]);
    let run = |matches: &ArgMatches, sources: &Sources| {
        super::finish(match matches.subcommand() {
            Some(("save", matches)) => super::store(sources).and_then(|store| {
                let to = path(matches, "file");
                traced(|| info_span!("snapshot.save"), || save(&store, &to))
            }),
            Some(("restore", matches)) => super::store(sources).and_then(|store| {
                let from = path(matches, "file");
                let restore = || restore(&from, &store, matches);
                traced(|| info_span!("snapshot.restore"), restore)
            }),
            Some((_, matches)) => {
                let snapshot = path(matches, "file");
                traced(|| info_span!("snapshot.verify"), || verify(&snapshot))
            }
            None => Ok(ExitCode::FAILURE),
        })
    };
    Command { clap, run }
}

/// Runs it as one trace, where traces are exported.
fn traced(
    span: impl FnOnce() -> Span,
    work: impl FnOnce() -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    Traces::of_program(App::NAME, || stage(span(), work))
}

/// Runs a part of it with a span of its own.
fn stage<T, E: Display>(span: Span, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let outcome = span.in_scope(work);
    outcome.inspect_err(|error| telemetry::fail(&span, format!("{error:#}")))
}

fn save_arguments() -> clap::Command {
    clap::Command::new("save")
        .about("Copies the store of --endpoint, also while it is served, into a file")
        .arg(snapshot_argument())
}

fn verify_arguments() -> clap::Command {
    clap::Command::new("verify")
        .about("Compares a snapshot with its checksum, and checks the store in it")
        .arg(snapshot_argument())
}

fn restore_arguments() -> clap::Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .value_name("NUMBER")
            .value_parser(value_parser!(i64).range(1..))
    };
    clap::Command::new("restore")
        .about("Makes a snapshot the store of --endpoint, which must not exist")
        .arg(snapshot_argument())
        .arg(number(
            "revision",
            "Go back to this revision, which must not be compacted",
        ))
        .arg(number(
            "bump-revision",
            "Go on so many revisions later and compact what is before, so that clients which have seen newer \
             revisions read everything anew",
        ))
}

fn snapshot_argument() -> Arg {
    Arg::new("file")
        .help("The snapshot")
        .required(true)
        .value_parser(value_parser!(PathBuf))
}

fn save(store: &Path, to: &Path) -> anyhow::Result<ExitCode> {
    // The copy may hold newer ones as well.
    let copying = info_span!("snapshot.copy", revision = newest(store));
    let mut copy = stage(copying, || sqlite::copy(store))?;
    let total = copy
        .metadata()
        .map_err(|e| file("reading", store, &e))?
        .len();
    // Under its name only when it is whole.
    let part = sqlite::sibling(to, ".part");
    let mut target = create(&part)?;
    stage(info_span!("snapshot.write", bytes = total), || {
        let mut progress = Progress::new("bytes saved", total);
        let digest = transfer(
            (&mut copy, store),
            total,
            (&mut target, &part),
            &mut progress,
        )?;
        let written = target.write_all(&digest);
        written.map_err(|e| file("writing", &part, &e))
    })?;
    stage(info_span!("snapshot.publish"), || {
        publish(&target, &part, to)
    })?;
    println!(
        "saved {} bytes of {} to {}",
        total,
        store.display(),
        to.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn verify(snapshot: &Path) -> anyhow::Result<ExitCode> {
    let (mut source, length) = open(snapshot)?;
    compare(&mut source, snapshot, length, &mut std::io::sink())?;
    println!("the checksum is right");
    let report = look_through(snapshot)?;
    check::print(snapshot, &report);
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        telemetry::fail(&Span::current(), "the store in it isn't as it should be");
        ExitCode::FAILURE
    })
}

fn look_through(store: &Path) -> anyhow::Result<Report> {
    stage(info_span!("snapshot.check", revision = Empty), || {
        let report = check::inspect(store)?;
        Span::current().record("revision", report.revision);
        Ok(report)
    })
}

/// The newest revision of a store, where that can be told.
fn newest(store: &Path) -> Option<i64> {
    let looked = sqlite::look(store).ok();
    looked.map(|(loaded, _)| loaded.state.revision)
}

fn restore(snapshot: &Path, store: &Path, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    // Nobody serves it meanwhile.
    let _claim = claim_new(store)?;
    let part = sqlite::sibling(store, ".part");
    let renewed = restore_into(&part, snapshot, store, matches).inspect_err(|_| {
        // Of no use to anybody, and as large as the store.
        let _ = std::fs::remove_file(&part);
    })?;
    if renewed > 0 {
        println!("{renewed} leases that had ended since are back for an hour");
    }
    println!("restored {} to {}", snapshot.display(), store.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes the store in `part`, checks it, and gives it its name. Tells how many leases came back.
fn restore_into(
    part: &Path,
    snapshot: &Path,
    store: &Path,
    matches: &ArgMatches,
) -> anyhow::Result<u64> {
    let (mut source, length) = open(snapshot)?;
    let mut target = create(part)?;
    compare(&mut source, snapshot, length, &mut target)?;
    let revision = matches.get_one::<i64>("revision").copied();
    let bump = matches.get_one::<i64>("bump-revision").copied();
    let renewed = stage(info_span!("snapshot.rewind", revision, bump), || {
        rewind::rewind(part, revision, bump)
    })?;
    let report = look_through(part)?;
    check::print(store, &report);
    if !report.problems.is_empty() {
        return Err(Error::Damaged(snapshot.to_owned()).into());
    }
    stage(info_span!("snapshot.publish"), || {
        publish(&target, part, store)
    })?;
    Ok(renewed)
}

/// A snapshot, and the length of the store in it.
fn open(snapshot: &Path) -> Result<(File, u64), Error> {
    let source = File::open(snapshot).map_err(|e| file("opening", snapshot, &e))?;
    let length = source
        .metadata()
        .map_err(|e| file("reading", snapshot, &e))?
        .len();
    match length.checked_sub(SHA256_OUTPUT_LEN as u64) {
        Some(length) if length > 0 => Ok((source, length)),
        _ => Err(Error::Damaged(snapshot.to_owned())),
    }
}

/// Copies the store out of a snapshot and compares what was copied with the checksum.
fn compare(
    source: &mut File,
    snapshot: &Path,
    length: u64,
    target: &mut dyn Write,
) -> Result<(), Error> {
    stage(info_span!("snapshot.compare", bytes = length), || {
        try_compare(source, snapshot, length, target)
    })
}

fn try_compare(
    source: &mut File,
    snapshot: &Path,
    length: u64,
    target: &mut dyn Write,
) -> Result<(), Error> {
    let mut progress = Progress::new("bytes compared", length);
    let digest = transfer(
        (source, snapshot),
        length,
        (target, snapshot),
        &mut progress,
    )?;
    let mut wanted = Vec::with_capacity(SHA256_OUTPUT_LEN);
    source
        .read_to_end(&mut wanted)
        .map_err(|e| file("reading", snapshot, &e))?;
    if wanted != digest {
        return Err(Error::Damaged(snapshot.to_owned()));
    }
    Ok(())
}

/// Copies `length` bytes and tells their SHA-256.
fn transfer(
    (source, from): (&mut File, &Path),
    length: u64,
    (target, to): (&mut dyn Write, &Path),
    progress: &mut Progress,
) -> Result<Vec<u8>, Error> {
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; PIECE];
    let mut source = source.take(length);
    loop {
        let read = source
            .read(&mut buffer)
            .map_err(|e| file("reading", from, &e))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok(digest.finish().as_ref().to_vec());
        };
        digest.update(piece);
        target
            .write_all(piece)
            .map_err(|e| file("writing", to, &e))?;
        progress.add(read as u64);
    }
}

fn create(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| file("creating", path, &e))
}
