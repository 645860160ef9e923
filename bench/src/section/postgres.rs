//! kine and datastore-proxy on one PostgreSQL server, which syncs what it commits; datastore-proxy also with three
//! replicas.

use crate::Bench;
use crate::figures::Figures;
use crate::fsync;
use crate::load::{self, Client, Op};
use crate::server::{Kind, Program, Server, free_port};
use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Gid, Uid, User, chown, geteuid};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "postgres";
/// Clients that write at once.
const WRITERS: usize = 64;
const WITHIN: Duration = Duration::from_secs(30);
const OPS: [(Op, &str); 3] = [
    (Op::Create, "create"),
    (Op::Update, "update"),
    (Op::Get, "get"),
];

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let Some(database) = Postgres::start(&bench.folder.join("postgresql")).await? else {
        return Ok(());
    };
    let mut setups = Vec::new();
    for program in bench.programs.clone() {
        match program.kind {
            Kind::Etcd => {}
            Kind::Kine => setups.push(Setup::start(bench, &program, &database, 1).await?),
            Kind::DatastoreProxy => {
                setups.push(Setup::start(bench, &program, &database, 1).await?);
                setups.push(Setup::start(bench, &program, &database, 3).await?);
            }
        }
    }
    let length = bench.plan.length();
    for round in 0..bench.plan.rounds {
        fsync::measure(&bench.folder, &mut bench.figures)?;
        for setup in &setups {
            setup.measure(round, length, &mut bench.figures).await?;
        }
    }
    for setup in setups {
        for server in setup.servers {
            server.stop().await?;
        }
    }
    Ok(())
}

/// Servers of one kind on a database of their own.
struct Setup {
    servers: Vec<Server>,
}

impl Setup {
    async fn start(
        bench: &Bench,
        program: &Program,
        database: &Postgres,
        replicas: usize,
    ) -> Result<Self> {
        let plane = format!("{}_{replicas}", program.kind).replace('-', "_");
        let address = format!("postgres://sextant@127.0.0.1:{}", database.port);
        let endpoint = match program.kind {
            Kind::Kine => format!("{address}/{plane}?sslmode=disable"),
            _ => format!("{address}/postgres?schema={plane}"),
        };
        let mut servers = Vec::new();
        for number in 0..replicas {
            let folder = bench
                .folder
                .join(NAME)
                .join(&plane)
                .join(number.to_string());
            servers.push(program.start_on(&folder, &endpoint).await?);
        }
        Ok(Self { servers })
    }

    /// Clients of each of its servers.
    async fn clients(&self, round: u32) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for (number, server) in self.servers.iter().enumerate() {
            let rest = WRITERS % self.servers.len();
            let count = WRITERS / self.servers.len() + usize::from(number < rest);
            let prefix = format!("/registry/configmaps/round-{round}/{number}/");
            clients.extend(load::clients(server, count, &prefix).await?);
        }
        Ok(clients)
    }

    async fn measure(&self, round: u32, length: Duration, figures: &mut Figures) -> Result<()> {
        let server = self.servers.first().context("no server runs")?;
        let which = match self.servers.len() {
            1 => "PostgreSQL".to_owned(),
            replicas => format!("PostgreSQL, {replicas} replicas"),
        };
        let mut clients = self.clients(round).await?;
        for (op, name) in OPS {
            let outcome;
            (clients, outcome) = load::run(clients, op, length, usize::MAX).await?;
            outcome.add(
                &format!("{which}: {name}, {WRITERS} clients"),
                server,
                figures,
            );
        }
        Ok(())
    }
}

/// A PostgreSQL server with its default durability, its data beside the other servers'.
struct Postgres {
    child: Child,
    port: u16,
}

impl Postgres {
    /// `None`, after a line that says why, where it isn't installed.
    async fn start(folder: &Path) -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            println!("SKIP PostgreSQL 15 or later isn't installed (Debian: postgresql)");
            return Ok(None);
        };
        std::fs::create_dir_all(folder)?;
        let owner = owner()?;
        if let Some((uid, gid)) = owner {
            chown(folder, Some(uid), Some(gid))?;
            open_the_way(folder)?;
        }
        let data = folder.join("data");
        let mut init = command(&programs.join("initdb"), owner, folder);
        init.arg("--pgdata").arg(&data);
        init.args([
            "--username=sextant",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
        ]);
        let made = init.output().context("starting initdb")?;
        ensure!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port()?;
        let mut serve = command(&programs.join("postgres"), owner, folder);
        serve.arg("-D").arg(&data).args([
            "-c",
            &format!("port={port}"),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "shared_buffers=128MB",
        ]);
        let child = serve
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting postgres")?;
        let server = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > WITHIN {
                bail!("PostgreSQL doesn't listen within {WITHIN:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(server))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Fast shutdown, so that no segment of shared memory stays behind. It may have ended already.
        let pid = i32::try_from(self.child.id()).map(nix::unistd::Pid::from_raw);
        if let Ok(pid) = pid {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}

fn command(program: &Path, owner: Option<(Uid, Gid)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("LC_ALL", "C");
    if let Some((uid, gid)) = owner {
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    command
}

/// Whom it runs as: it refuses to run as root.
fn owner() -> Result<Option<(Uid, Gid)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?.context("there is no user postgres")?;
    Ok(Some((user.uid, user.gid)))
}

/// Lets another user through the temporary folder that `folder` lies in, which is closed for others.
fn open_the_way(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let parent = folder.parent().context("the folder has no parent")?;
    let passable = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(parent, passable)
        .with_context(|| format!("opening {}", parent.display()))
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
