//! A MariaDB server.

use super::User;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use sextant_testkit::{Process, eventually};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const SERVER: &str = "/usr/sbin/mariadbd";

/// A server whose data is in a temporary folder.
pub struct MariaDb {
    process: Process,
    settings: &'static [&'static str],
    pub port: u16,
    folder: tempfile::TempDir,
}

impl MariaDb {
    pub(super) async fn start() -> Option<Self> {
        let everybody = "CREATE USER IF NOT EXISTS sextant@'%';\nGRANT ALL ON *.* TO sextant@'%' WITH GRANT OPTION;\n";
        let server = Self::made(&[], &[("init.sql", everybody)]).await?;
        server.answers().await;
        Some(server)
    }

    pub(super) async fn start_secure(certificate: &str, key: &str, password: &str) -> Option<Self> {
        let one = format!(
            "CREATE USER IF NOT EXISTS sextant@'%' IDENTIFIED BY '{password}' REQUIRE SSL;\n\
             GRANT ALL ON *.* TO sextant@'%';\n"
        );
        let files = [
            ("server.crt", certificate),
            ("server.key", key),
            ("init.sql", &one),
        ];
        let settings = &["--ssl-cert=server.crt", "--ssl-key=server.key"];
        let server = Self::made(settings, &files).await?;
        super::listens(server.port, &server.process).await;
        Some(server)
    }

    async fn made(settings: &'static [&'static str], files: &[(&str, &str)]) -> Option<Self> {
        if !Path::new(SERVER).exists() {
            println!(
                "SKIP MariaDB 10.11 or later isn't installed (Debian: mariadb-server-core and mariadb-client-core)"
            );
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut init = Command::new("mariadb-install-db");
        init.env("TMPDIR", folder.path())
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data(folder.path()).display()))
            .args(["--skip-test-db", "--innodb-log-file-size=8M"])
            .args(user());
        let made = init.output().await.expect("mariadb-install-db starts");
        assert!(
            made.status.success(),
            "mariadb-install-db: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        super::write(folder.path(), None, files);
        let port = sextant_testkit::free_port();
        Some(Self {
            process: serve(folder.path(), port, settings),
            settings,
            port,
            folder,
        })
    }

    pub(super) async fn restart(&mut self) {
        self.crash();
        self.process = serve(self.folder.path(), self.port, self.settings);
        self.answers().await;
    }

    pub(super) fn crash(&mut self) {
        self.process.signal(nix::sys::signal::Signal::SIGKILL);
        super::ended(&mut self.process);
    }

    async fn answers(&self) {
        eventually(Duration::from_secs(30), "MariaDB answers", || async {
            let connected = self.connect().await;
            connected
                .map(drop)
                .map_err(|error| format!("{error}: {}", self.process.output()))
        })
        .await;
    }

    async fn connect(&self) -> Result<Conn, mysql_async::Error> {
        Conn::new(self.opts().user(Some("sextant"))).await
    }

    fn opts(&self) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .prefer_socket(false)
    }

    pub(super) async fn execute(&self, user: User<'_>, statements: &str) -> Result<(), String> {
        let opts = self.opts().user(Some(user.name)).pass(Some(user.password));
        let done = async {
            let mut conn = Conn::new(opts).await?;
            for statement in statements.split(';').map(str::trim) {
                if !statement.is_empty() {
                    conn.query_drop(statement).await?;
                }
            }
            Ok(())
        };
        done.await
            .map_err(|error: mysql_async::Error| error.to_string())
    }

    pub(super) async fn number(&self, query: &str) -> i64 {
        let mut conn = self.connect().await.expect("a connection");
        let number = conn.query_first(query).await.expect("an answer");
        number.expect("a row")
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// It refuses to run as root unless it is told to.
fn user() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=root")
}

fn serve(folder: &Path, port: u16, settings: &[&str]) -> Process {
    let mut command = Command::new(SERVER);
    command
        .current_dir(folder)
        .env("TMPDIR", folder)
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data(folder).display()))
        .arg(format!("--socket={}", folder.join("socket").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .arg(format!("--init-file={}", folder.join("init.sql").display()))
        .arg(format!("--port={port}"))
        .args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--log-warnings=1",
            // Nothing here survives the machine, so nothing is synced.
            "--innodb-flush-method=nosync",
            "--innodb-log-file-size=8M",
            "--innodb-buffer-pool-size=32M",
        ])
        .args(user());
    for setting in settings {
        // Files are named relative to the folder.
        match setting.split_once('=') {
            Some((name, file)) => command.arg(format!("{name}={}", folder.join(file).display())),
            None => command.arg(setting),
        };
    }
    Process::start(command).expect("mariadbd starts")
}
