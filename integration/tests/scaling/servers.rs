//! An etcd, kube-apiservers on it, and a balancer in front of them.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sextant_integration::load::Load;
use sextant_integration::{Outcome, eventually, run};
use sextant_kit::{Drain, DrainTrigger};
use sextant_runner::balance::Balancer;
use sextant_testkit::{etcd_flags, free_port, kube_apiserver_flags};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use supervisor::domain::cluster::ClusterConfig;
use supervisor::domain::components::{Component, component_config};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(120);
const PROGRAMS: [&str; 5] = [
    "TEST_ETCD",
    "TEST_KUBE_APISERVER",
    "TEST_KUBECTL",
    "TEST_KUBE_CONTROLLER_MANAGER",
    "TEST_KUBE_SCHEDULER",
];

pub struct Servers {
    pub(super) folder: TempDir,
    pub(super) programs: [PathBuf; 5],
    /// What those are told that are started from now on, as far as it needs no file of a runner's.
    pub cluster: ClusterConfig,
    /// What they find in their environment.
    pub environment: Vec<(String, String)>,
    etcd: String,
    running: Vec<Server>,
    upstreams: watch::Sender<Vec<String>>,
    _etcd: Ended,
    _balancer: (Runtime, DrainTrigger),
}

struct Server {
    address: String,
    process: Ended,
}

impl Server {
    fn ended(mut self) -> Result<()> {
        eventually("its end", SOON, || match self.process.0.try_wait()? {
            Some(_) => Ok(()),
            None => bail!("it still runs"),
        })
    }
}

/// Killed when dropped.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Servers {
    /// Without a kube-apiserver yet; None, and `SKIP …`, where a program is missing.
    pub fn start() -> Result<Option<Self>> {
        let programs = PROGRAMS.map(|variable| std::env::var_os(variable).unwrap_or_default());
        if let Some(missing) = programs.iter().position(|program| program.is_empty()) {
            println!("SKIP {} names no program", PROGRAMS[missing]);
            return Ok(None);
        }
        let programs = programs.map(PathBuf::from);
        let folder = tempfile::tempdir()?;
        let (etcd, process) = etcd(&programs[0], folder.path())?;
        let (upstreams, follow) = watch::channel(Vec::new());
        let (balancer, address) = balance(follow)?;
        write_files(folder.path(), address)?;
        Ok(Some(Self {
            folder,
            programs,
            cluster: ClusterConfig::default(),
            environment: Vec::new(),
            etcd,
            running: Vec::new(),
            upstreams,
            _etcd: process,
            _balancer: balancer,
        }))
    }

    /// An administrator's, at the balancer.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Starts one more and waits until it is ready; only then is it balanced to.
    pub fn add(&mut self) -> Result<()> {
        let port = free_port();
        let log = std::fs::File::create(self.folder.path().join(format!("{port}.log")))?;
        let process = Command::new(&self.programs[1])
            .args(self.flags(port))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting kube-apiserver")?;
        let server = Server {
            address: format!("127.0.0.1:{port}"),
            process: Ended(process),
        };
        let url = format!("https://{}", server.address);
        eventually("kube-apiserver ready", SOON, || {
            self.kubectl(&["--server", &url, "get", "--raw", "/readyz"])?
                .ok()
        })?;
        self.running.push(server);
        self.tell_balancer();
        Ok(())
    }

    /// Stops the oldest, and waits for its end. `edge` and Services leave out what says that it isn't ready; so does this
    /// balancer, and the server goes on for its `--shutdown-delay-duration`.
    pub fn stop_first(&mut self) -> Result<()> {
        self.signal_first(Signal::SIGTERM)?;
        let first = self.running.remove(0);
        self.tell_balancer();
        first.ended()
    }

    /// Kills the oldest. The balancer learns of it afterwards, as from a resolver.
    pub fn kill_first(&mut self) -> Result<()> {
        self.signal_first(Signal::SIGKILL)?;
        self.running.remove(0).ended()?;
        self.tell_balancer();
        Ok(())
    }

    pub fn signal_first(&self, signal: Signal) -> Result<()> {
        let first = self.running.first().context("none runs")?;
        let pid = Pid::from_raw(first.process.0.id().cast_signed());
        nix::sys::signal::kill(pid, signal).context("signalling kube-apiserver")
    }

    /// Waits until `more` requests more have been answered, and writes still are.
    pub fn answered(&self, load: &Load, more: usize) -> Result<()> {
        let wanted = load.answered() + more;
        eventually(&format!("{more} answers more"), SOON, || {
            let answered = load.answered();
            ensure!(answered >= wanted, "{answered} of {wanted}");
            Ok(())
        })
    }

    /// URL of the etcd.
    pub fn etcd(&self) -> &str {
        &self.etcd
    }

    /// Process ids of the API servers that run.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.running.iter().map(|server| server.process.0.id())
    }

    fn tell_balancer(&self) {
        let addresses = self.running.iter().map(|server| server.address.clone());
        self.upstreams.send_replace(addresses.collect());
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(&self.programs[2]);
        command.env("KUBECONFIG", self.kubeconfig()).args(arguments);
        run(&mut command, Duration::from_secs(20))
    }

    fn flags(&self, port: u16) -> Vec<String> {
        let folder = self.folder.path();
        let mut flags = kube_apiserver_flags(&self.etcd, port, folder);
        let authority = folder.join("ca.crt");
        flags.push(format!("--client-ca-file={}", authority.display()));
        let ours = component_config(&self.cluster, Component::ApiServer);
        let stop = ours.arguments.into_iter();
        flags.extend(stop.filter(|flag| flag.starts_with("--shutdown-")));
        let further = &self.cluster.extra_args.kube_apiserver;
        flags.extend(
            further
                .iter()
                .map(|(name, value)| format!("--{name}={value}")),
        );
        flags
    }
}

fn etcd(program: &Path, folder: &Path) -> Result<(String, Ended)> {
    let url = format!("http://127.0.0.1:{}", free_port());
    let process = Command::new(program)
        .args(etcd_flags(&url, folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting etcd")?;
    Ok((url, Ended(process)))
}

fn balance(
    upstreams: watch::Receiver<Vec<String>>,
) -> Result<((Runtime, DrainTrigger), SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (drain, trigger) = Drain::new();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let balancer = runtime.block_on(Balancer::bind(listen, upstreams))?;
    let address = balancer.local_addr()?;
    runtime.spawn(balancer.run(drain));
    Ok(((runtime, trigger), address))
}

/// One authority for servers and clients, keys for tokens, and the administrator's kubeconfig.
fn write_files(folder: &Path, balancer: SocketAddr) -> Result<()> {
    let authority = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let anchor = params.self_signed(&authority)?.pem();
    let issuer = Issuer::new(params, authority);
    let (server, client, accounts) = (
        KeyPair::generate()?,
        KeyPair::generate()?,
        KeyPair::generate()?,
    );
    let served = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "load");
    name.push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&client, &issuer)?.pem();
    let encoded = |text: &str| STANDARD.encode(text);
    let kubeconfig = serde_json::json!({
        "clusters": [{"name": "load", "cluster": {
            "server": format!("https://{balancer}"),
            "certificate-authority-data": encoded(&anchor),
        }}],
        "users": [{"name": "load", "user": {
            "client-certificate-data": encoded(&certificate),
            "client-key-data": encoded(&client.serialize_pem()),
        }}],
        "contexts": [{"name": "load", "context": {"cluster": "load", "user": "load"}}],
        "current-context": "load",
    });
    let files = [
        ("ca.crt", anchor),
        ("tls.crt", served.signed_by(&server, &issuer)?.pem()),
        ("tls.key", server.serialize_pem()),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        ("kubeconfig", kubeconfig.to_string()),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).with_context(|| name.to_owned())?;
    }
    Ok(())
}
