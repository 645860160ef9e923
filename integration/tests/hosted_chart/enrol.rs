//! The services themselves with the environment, the mounts and the accounts that the chart gives them, on a kube-apiserver
//! that enforces its roles: what they are granted is enough to come up, their account is what makes them who they are, and
//! what kubelet runs as startup probe says what they wait for.

use crate::chart::{NAMESPACE, Pod, RELEASE, Rendered, folder, program};
use crate::container::{Account, Container};
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use sextant_integration::{eventually, run};
use sextant_testkit::free_port;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// Longer than the probe waits.
const PROBED: Duration = Duration::from_secs(20);

pub fn accounts_are_enough_and_needed(helm: &Path) -> Result<()> {
    if !Container::possible() {
        return Ok(());
    }
    let Some(server) = Server::start()? else {
        return Ok(());
    };
    server
        .helm(helm, &["install", RELEASE, &folder().to_string_lossy()])?
        .ok()?;
    let rendered = Rendered::named(helm, "default")?;
    let plane = Plane::new(&server, rendered.pods());

    let authority = plane.start("cert-authority", "cert-authority")?;
    authority.is_ready()?;
    for object in [
        "secret/demo-sextant-keyring",
        "secret/demo-sextant-seal",
        "configmap/demo-sextant-trust",
    ] {
        server.kubectl(&["get", object], "")?;
    }
    let datastore = plane.start("datastore-proxy", "datastore-proxy")?;
    datastore.is_ready()?;
    // Another part's account doesn't make it token-service, and its own does.
    let impostor = plane.start("token-service", "supervisor")?;
    let refused = ["identity: enrolling as service/token-service", "supervisor"];
    impostor.waits_for(&refused)?;
    drop(impostor);
    let tokens = plane.start("token-service", "token-service")?;
    tokens.is_ready()?;
    let supervisor = plane.start("supervisor", "supervisor")?;
    supervisor.is_ready()?;

    if program("TEST_KUBE_CONTROLLER_MANAGER").is_none() {
        return Ok(());
    }
    // No kube-apiserver of the plane runs here, so nobody has the version that this one must not be newer than.
    let name = "kube-controller-manager";
    let withheld = plane.start(name, name)?;
    withheld.waits_for(&[
        "configuration: ",
        "waiting until every kube-apiserver has v1.",
    ])
}

/// Pods of the chart as processes on loopback.
struct Plane<'a> {
    server: &'a Server,
    pods: Vec<Pod>,
    authority: u16,
    datastore: u16,
    tokens: u16,
    supervisor: u16,
}

/// A part that runs; killed when dropped.
struct Part {
    child: Child,
    name: &'static str,
    container: Container,
}

impl<'a> Plane<'a> {
    fn new(server: &'a Server, pods: Vec<Pod>) -> Self {
        let [authority, datastore, tokens, supervisor] = std::array::from_fn(|_| free_port());
        Self {
            server,
            pods,
            authority,
            datastore,
            tokens,
            supervisor,
        }
    }

    /// Starts a part with the tokens of an account.
    fn start(&self, part: &'static str, account: &str) -> Result<Part> {
        let home = self.server.folder(&format!("{part}-as-{account}"))?;
        let pods = &mut self.pods.iter();
        let pod = pods.find(|pod| pod.part == part).context("no pod")?;
        let account = self.account(account)?;
        let container = Container::new(pod, &account, home, self.here(part))?;
        let output = File::create(container.log())?;
        let mut command = container.main();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("starting {part}"))?;
        Ok(Part {
            child,
            name: part,
            container,
        })
    }

    /// What kubelet asks the API server for.
    fn account(&self, name: &str) -> Result<Account> {
        let account = format!("demo-sextant-{name}");
        let token = |flags: &[&str]| {
            let arguments = [&["create", "token", &account, "--duration=10m"], flags].concat();
            self.server.kubectl(&arguments, "")
        };
        let audience = format!("--audience=sextant:{NAMESPACE}:demo-sextant");
        Ok(Account {
            api: token(&[])?,
            enrol: token(&[&audience])?,
            authority: self.server.certificate()?,
            namespace: NAMESPACE,
        })
    }

    /// Addresses of a network that all share, instead of each pod's own and the Services' names.
    fn here(&self, part: &str) -> Vec<(String, String)> {
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        let [admin, public, other] = std::array::from_fn(|_| free_port());
        let listen = match part {
            "cert-authority" => self.authority,
            "datastore-proxy" => self.datastore,
            "token-service" => self.tokens,
            "supervisor" => self.supervisor,
            _ => other,
        };
        let mut all = vec![
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", self.server.port().to_string()),
            ("SEXTANT_COMMON__ADMIN_LISTEN", loopback(admin)),
            ("SEXTANT_LISTEN", loopback(listen)),
        ];
        if part != "cert-authority" {
            all.push(("SEXTANT_ENROLL__CERT_AUTHORITY", loopback(self.authority)));
        }
        match part {
            "token-service" => all.push(("SEXTANT_DATASTORE", loopback(self.datastore))),
            "supervisor" => all.extend([
                ("SEXTANT_DATASTORE", loopback(self.datastore)),
                ("SEXTANT_TOKEN_SERVICE", loopback(self.tokens)),
                ("SEXTANT_PUBLIC_LISTEN", loopback(public)),
            ]),
            "kube-controller-manager" => {
                all.push(("SEXTANT_SUPERVISOR", loopback(self.supervisor)));
            }
            _ => {}
        }
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        all.into_iter().map(owned).collect()
    }
}

impl Part {
    fn is_ready(&self) -> Result<()> {
        eventually(&format!("{} is ready", self.name), SOON, || {
            let said = self.startup_probe()?;
            ensure!(said.is_empty(), "{said}; its log: {}", self.last_words());
            Ok(())
        })
    }

    /// It says why it isn't ready, in all these words.
    fn waits_for(&self, words: &[&str]) -> Result<()> {
        eventually(&format!("{} waits for {words:?}", self.name), SOON, || {
            let said = self.startup_probe()?;
            // A list of events shows one line.
            let line = said.lines().next().unwrap_or_default();
            let told = words.iter().all(|word| line.contains(word));
            ensure!(told, "{said}; its log: {}", self.last_words());
            Ok(())
        })
    }

    /// What kubelet puts into the pod's events; nothing once it is ready.
    fn startup_probe(&self) -> Result<String> {
        let outcome = run(&mut self.container.startup_probe(), PROBED)?;
        Ok(match outcome.code {
            0 => String::new(),
            _ => format!("{}{}", outcome.stdout, outcome.stderr),
        })
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.container.log()).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(4).collect();
        last.join("\n")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
