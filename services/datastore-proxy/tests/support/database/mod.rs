//! Database servers of the tests' own: a process on a free port, its data in a temporary folder.

mod mariadb;
mod postgres;

use mariadb::MariaDb;
use postgres::Postgres;
use sextant_testkit::{Process, eventually};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MariaDb,
    Postgres,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::MariaDb, Self::Postgres];
}

/// A server.
pub enum Server {
    MariaDb(Box<MariaDb>),
    Postgres(Box<Postgres>),
}

impl Server {
    /// Starts one; says why if that can't be done here.
    pub async fn start(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::MariaDb => Self::MariaDb(Box::new(MariaDb::start().await?)),
            Kind::Postgres => Self::Postgres(Box::new(Postgres::start().await?)),
        })
    }

    /// Starts one that lets nobody in but over TLS, and with this password.
    pub async fn start_secure(
        kind: Kind,
        certificate: &str,
        key: &str,
        password: &str,
    ) -> Option<Self> {
        Some(match kind {
            Kind::MariaDb => Self::MariaDb(Box::new(
                MariaDb::start_secure(certificate, key, password).await?,
            )),
            Kind::Postgres => Self::Postgres(Box::new(
                Postgres::start_secure(certificate, key, password).await?,
            )),
        })
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::MariaDb(server) => server.port,
            Self::Postgres(server) => server.port,
        }
    }

    /// The endpoint of a plane on it.
    pub fn endpoint(&self, plane: &str) -> String {
        self.endpoint_at(self.port(), plane)
    }

    /// The same, where another port leads to it.
    pub fn endpoint_at(&self, port: u16, plane: &str) -> String {
        self.url("sextant", port, plane)
    }

    /// The endpoint of a plane with a user of its own.
    pub fn endpoint_of(&self, user: &str, plane: &str) -> String {
        self.url(user, self.port(), plane)
    }

    fn url(&self, user: &str, port: u16, plane: &str) -> String {
        match self {
            Self::MariaDb(_) => format!("mysql://{user}@127.0.0.1:{port}/{plane}"),
            Self::Postgres(_) => {
                format!("postgres://{user}@127.0.0.1:{port}/postgres?schema={plane}")
            }
        }
    }

    /// Stops it as a crash would, and starts it again on the same port.
    pub async fn restart(&mut self) {
        match self {
            Self::MariaDb(server) => server.restart().await,
            Self::Postgres(server) => server.restart().await,
        }
    }

    /// Ends it as a crash would.
    pub fn crash(&mut self) {
        match self {
            Self::MariaDb(server) => server.crash(),
            Self::Postgres(server) => server.crash(),
        }
    }

    /// A number that a query answers.
    pub async fn number(&self, query: &str) -> i64 {
        match self {
            Self::MariaDb(server) => server.number(query).await,
            Self::Postgres(server) => server.number(query).await,
        }
    }
}

/// A user of the server, who runs statements one after the other on one connection.
#[derive(Clone, Copy)]
pub struct User<'a> {
    pub name: &'a str,
    pub password: &'a str,
}

impl Server {
    /// Runs statements as whoever may do everything.
    pub async fn administer(&self, statements: &str) {
        let administrator = User {
            name: "sextant",
            password: "",
        };
        let done = self.execute(administrator, statements).await;
        done.unwrap_or_else(|error| panic!("{error}: {statements}"));
    }

    /// Runs statements as a user; what the server says against it.
    pub async fn execute(&self, user: User<'_>, statements: &str) -> Result<(), String> {
        match self {
            Self::MariaDb(server) => server.execute(user, statements).await,
            Self::Postgres(server) => server.execute(user, statements).await,
        }
    }
}

/// Makes a test of each function, for each kind of server.
#[allow(unused_macros, reason = "not every test has servers")]
macro_rules! on_each_server {
    ($($name:ident),+ $(,)?) => {
        $crate::support::database::on_each_server!(in mariadb, MariaDb, $($name),+);
        $crate::support::database::on_each_server!(in postgres, Postgres, $($name),+);
    };
    (in $module:ident, $kind:ident, $($name:ident),+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let kind = $crate::support::database::Kind::$kind;
                if let Some(server) = $crate::support::database::Server::start(kind).await {
                    super::$name(server).await;
                }
            })+
        }
    };
}
#[allow(unused_imports, reason = "not every test has servers")]
pub(crate) use on_each_server;

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

/// Waits until the server takes connections, whoever may make them.
async fn listens(port: u16, process: &Process) {
    eventually(Duration::from_secs(30), "the server listens", || async {
        let dialed = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        dialed
            .map(drop)
            .map_err(|error| format!("{error}: {}", process.output()))
    })
    .await;
}

/// Waits until a process that was told to end has ended.
fn ended(process: &mut Process) {
    for _ in 0..500 {
        if !process.is_running() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
