//! `migrate`: everything of one store becomes another one, with its rows, revisions and leases.

mod held;
mod side;
mod target;
mod tenancy;

use crate::config::DatabaseConfig;
use crate::error::Error;
use clap::{Arg, ArgMatches, value_parser};
use held::Held;
use sextant_kit::cli::Command;
use side::Side;
use std::path::PathBuf;
use std::process::ExitCode;
use target::Target;
use tokio::runtime::Runtime;

pub(super) fn command() -> Command {
    let endpoint = |name: &'static str, help: &'static str| {
        let argument = Arg::new(name).long(name).help(help);
        argument.required(true).value_name("ENDPOINT")
    };
    let file = |name: &'static str, help: &'static str| {
        let argument = Arg::new(name).long(name).help(help);
        let path = value_parser!(PathBuf);
        argument.value_name("FILE").value_parser(path)
    };
    let about = "Copies a store that nobody serves into an empty one of another kind, with all its revisions";
    Command {
        clap: clap::Command::new("migrate").about(about).args([
            endpoint(
                "from",
                "The store: sqlite:///path/state.db or postgres://user@host/database?schema=name",
            ),
            endpoint(
                "to",
                "What it becomes: a file that doesn't exist, or a schema that is empty",
            ),
            file(
                "from-password-file",
                "The password for the server that is read",
            ),
            file("from-ca-file", "The authorities of its certificate"),
            file(
                "to-password-file",
                "The password for the server that is filled",
            ),
            file("to-ca-file", "The authorities of its certificate"),
        ]),
        run: |matches, _| super::finish(migrate(matches)),
    }
}

fn migrate(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (from, to) = (side(matches, "from")?, side(matches, "to")?);
    let runtime = Runtime::new()?;
    let (source, held) = from.hold(&runtime)?;
    let mut target = Target::begin(&to, &runtime)?;
    let digest = copy(&held, &mut target, &to)?;
    source.release()?;
    target.keep()?;
    println!("revision: {}", held.revision);
    println!("compacted: {}", held.compacted.max(0));
    println!("leases: {}", held.leases.len());
    println!("digest of all rows and leases: {digest}");
    println!("migrated {from} to {to}; the original is as it was");
    Ok(ExitCode::SUCCESS)
}

/// One end, as the command line names it.
fn side(matches: &ArgMatches, name: &str) -> Result<Side, Error> {
    let file = |kind: &str| matches.get_one(&format!("{name}-{kind}-file")).cloned();
    let database = DatabaseConfig {
        password_file: file("password"),
        ca_file: file("ca"),
    };
    let endpoint = matches.get_one::<String>(name);
    Side::parse(endpoint.map_or("", String::as_str), &database)
}

/// Fills the target, reads it again, and compares.
fn copy(held: &Held, target: &mut Target<'_>, to: &Side) -> Result<String, Error> {
    held.each("revisions copied", &mut |logged| target.add(logged))?;
    for lease in &held.leases {
        target.lease(lease)?;
    }
    let found = target.complete(held)?;
    let (wanted, found) = (held.digest()?, found.digest()?);
    if wanted != found {
        return Err(Error::MigrationDiffers(to.to_string()));
    }
    Ok(wanted)
}
