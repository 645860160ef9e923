//! A PostgreSQL server.

use super::{User, write};
use sextant_testkit::{Process, eventually};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// A server whose data is in a temporary folder.
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    settings: &'static [&'static str],
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Postgres {
    pub(super) async fn start() -> Option<Self> {
        let server = Self::made(&[], &[], &[]).await?;
        server.answers().await;
        Some(server)
    }

    pub(super) async fn start_secure(certificate: &str, key: &str, password: &str) -> Option<Self> {
        let hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
        let files = [
            ("data/server.crt", certificate),
            ("data/server.key", key),
            ("data/pg_hba.conf", hba),
        ];
        let server = Self::made(&["ssl=on"], &[("password", password)], &files).await?;
        super::listens(server.port, &server.process).await;
        Some(server)
    }

    /// Starts one with `settings`, and with files that are written `before` and `after` its data is made.
    async fn made(
        settings: &'static [&'static str],
        before: &[(&str, &str)],
        after: &[(&str, &str)],
    ) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("SKIP PostgreSQL 15 or later isn't installed (Debian: postgresql)");
            return None;
        };
        let Some(owner) = owner() else {
            println!("SKIP PostgreSQL refuses to run as root, and there is no user postgres");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        if let Some((uid, gid)) = owner {
            chown(folder.path(), Some(uid), Some(gid)).expect("the folder is given away");
        }
        write(folder.path(), owner, before);
        let data = folder.path().join("data");
        let mut init = command(&programs.join("initdb"), owner, folder.path());
        init.arg("--pgdata").arg(&data).args([
            "--username=sextant",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        let password = folder.path().join("password");
        if password.exists() {
            init.arg("--pwfile").arg(password);
        }
        let made = init.output().await.expect("initdb starts");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = sextant_testkit::free_port();
        write(folder.path(), owner, after);
        let process = serve(&programs, owner, folder.path(), port, settings);
        Some(Self {
            process,
            programs,
            owner,
            settings,
            port,
            folder,
        })
    }

    pub(super) async fn restart(&mut self) {
        self.crash();
        let folder = self.folder.path();
        self.process = serve(&self.programs, self.owner, folder, self.port, self.settings);
        self.answers().await;
    }

    pub(super) fn crash(&mut self) {
        // "Immediate shutdown": no checkpoint, recovery at the next start.
        self.process.signal(nix::sys::signal::Signal::SIGQUIT);
        super::ended(&mut self.process);
    }

    async fn answers(&self) {
        eventually(Duration::from_secs(30), "PostgreSQL answers", || async {
            let connected = self.connect().await;
            connected
                .map(drop)
                .map_err(|error| format!("{error}: {}", self.process.output()))
        })
        .await;
    }

    async fn connect(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        self.connect_as("sextant").await
    }

    /// Everybody is trusted to be who they say they are.
    async fn connect_as(
        &self,
        user: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let settings = format!(
            "host=127.0.0.1 port={} user={user} dbname=postgres",
            self.port
        );
        let (client, connection) =
            tokio_postgres::connect(&settings, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(super) async fn execute(&self, user: User<'_>, statements: &str) -> Result<(), String> {
        let done = async {
            let client = self.connect_as(user.name).await?;
            client.batch_execute(statements).await
        };
        done.await.map_err(|error: tokio_postgres::Error| {
            let told = error.as_db_error().map(ToString::to_string);
            told.unwrap_or_else(|| error.to_string())
        })
    }

    pub(super) async fn number(&self, query: &str) -> i64 {
        let client = self.connect().await.expect("a connection");
        client
            .query_one(query, &[])
            .await
            .expect("an answer")
            .get(0)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed with SIGKILL it would leave a segment of shared memory behind.
        self.crash();
    }
}

fn serve(
    programs: &Path,
    owner: Option<(u32, u32)>,
    folder: &Path,
    port: u16,
    settings: &[&str],
) -> Process {
    let mut command = command(&programs.join("postgres"), owner, folder);
    command.arg("-D").arg(folder.join("data"));
    let port = format!("port={port}");
    // Nothing here survives the machine, so nothing is synced.
    let always = [
        port.as_str(),
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=32MB",
    ];
    for setting in always.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    Process::start(command).expect("postgres starts")
}

fn command(program: &Path, owner: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("LC_ALL", "C");
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

/// The newest installation. Debian keeps them off the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| *version >= 15)
        .max()?;
    let programs = PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"));
    programs.join("initdb").is_file().then_some(programs)
}

/// Whom the server runs as: `Some(None)` is whoever runs the test.
fn owner() -> Option<Option<(u32, u32)>> {
    if !nix::unistd::geteuid().is_root() {
        return Some(None);
    }
    let user = nix::unistd::User::from_name("postgres").ok()??;
    Some(Some((user.uid.as_raw(), user.gid.as_raw())))
}
