//! Database servers of the tests' own: a process on a free port, its data in a temporary folder.

use sextant_testkit::{Process, eventually};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// A PostgreSQL server.
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    settings: &'static [&'static str],
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts one; says why if that can't be done here.
    pub async fn start() -> Option<Self> {
        let server = Self::made(&[], &[], &[]).await?;
        server.answers().await;
        Some(server)
    }

    /// Starts one that lets nobody in but over TLS, and with this password.
    pub async fn start_secure(certificate: &str, key: &str, password: &str) -> Option<Self> {
        let hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
        let files = [
            ("data/server.crt", certificate),
            ("data/server.key", key),
            ("data/pg_hba.conf", hba),
        ];
        let server = Self::made(&["ssl=on"], &[("password", password)], &files).await?;
        eventually(Duration::from_secs(30), "PostgreSQL listens", || async {
            let dialed = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await;
            dialed
                .map(drop)
                .map_err(|error| format!("{error}: {}", server.process.output()))
        })
        .await;
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
        let port = super::free_port();
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

    /// The endpoint of a schema on it.
    pub fn endpoint(&self, schema: &str) -> String {
        endpoint(self.port, schema)
    }

    /// Stops it as a crash would, and starts it again on the same port.
    pub async fn restart(&mut self) {
        self.crash();
        let folder = self.folder.path();
        self.process = serve(&self.programs, self.owner, folder, self.port, self.settings);
        self.answers().await;
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        self.process.signal(signal);
    }

    fn crash(&mut self) {
        // "Immediate shutdown": no checkpoint, recovery at the next start.
        self.process.signal(nix::sys::signal::Signal::SIGQUIT);
        for _ in 0..500 {
            if !self.process.is_running() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
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
        let settings = format!(
            "host=127.0.0.1 port={} user=sextant dbname=postgres",
            self.port
        );
        let (client, connection) =
            tokio_postgres::connect(&settings, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A number that a query answers.
    pub async fn number(&self, query: &str) -> i64 {
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

pub fn endpoint(port: u16, schema: &str) -> String {
    format!("postgres://sextant@127.0.0.1:{port}/postgres?schema={schema}")
}

/// Files of the server alone, as it wants its key to be.
fn write(folder: &Path, owner: Option<(u32, u32)>, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("a file");
        let alone = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, alone).expect("its mode");
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid), Some(gid)).expect("the file is given away");
        }
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
