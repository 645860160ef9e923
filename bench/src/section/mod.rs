//! What can be measured, each alone.

mod events;
mod million;
mod postgres;
mod reads;
mod watches;
mod writes;

use crate::Bench;
use crate::server::{Program, Server};
use anyhow::{Context, Result};
use std::fmt;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// Creates, updates, reads and deletions, by 1, 32 and 1,000 clients
    Writes,
    /// Lists in pages and whole
    List,
    /// Counts of prefixes
    Count,
    /// RangeStream: the first piece, the rest, the memory
    Stream,
    /// From a write to its event
    Events,
    /// Ten thousand watches, of which a write wakes one
    Watches,
    /// A million revisions: a start with them, and their compaction under load (datastore-proxy only)
    Million,
    /// kine and datastore-proxy on PostgreSQL, with one and with three replicas
    Postgres,
}

impl Section {
    /// All, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Writes,
        Self::List,
        Self::Count,
        Self::Stream,
        Self::Events,
        Self::Watches,
        Self::Million,
        Self::Postgres,
    ];

    /// Measures it.
    pub async fn run(self, bench: &mut Bench) -> Result<()> {
        match self {
            Self::Writes => writes::run(bench).await,
            Self::List => reads::list(bench).await,
            Self::Count => reads::count(bench).await,
            Self::Stream => reads::stream(bench).await,
            Self::Events => events::run(bench).await,
            Self::Watches => watches::run(bench).await,
            Self::Million => million::run(bench).await,
            Self::Postgres => postgres::run(bench).await,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Count => "count",
            Self::Events => "events",
            Self::List => "list",
            Self::Million => "million",
            Self::Postgres => "postgres",
            Self::Stream => "stream",
            Self::Watches => "watches",
            Self::Writes => "writes",
        })
    }
}

impl Bench {
    /// Starts every server with an empty store.
    async fn start(&self, name: &str) -> Result<Vec<Server>> {
        let mut servers = Vec::new();
        for program in &self.programs {
            servers.push(self.start_one(program, name).await?);
        }
        Ok(servers)
    }

    async fn start_one(&self, program: &Program, name: &str) -> Result<Server> {
        let folder = self.folder.join(name).join(program.kind.to_string());
        let started = program.start(&folder).await;
        started.with_context(|| format!("starting {}", program.kind))
    }

    /// Ends servers and removes their data.
    async fn stop(&self, servers: Vec<Server>, name: &str) -> Result<()> {
        for server in servers {
            server.stop().await?;
        }
        let folder = self.folder.join(name);
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
    }
}
