//! The services themselves with the environment and the accounts that the chart gives them, on a kube-apiserver that enforces
//! its roles: what they are granted is enough to come up, and their account is what makes them who they are.

use crate::chart::{NAMESPACE, Pod, RELEASE, Rendered, folder};
use crate::configuration::called;
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use sextant_integration::{eventually, run};
use sextant_testkit::free_port;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(10);

pub fn accounts_are_enough_and_needed(helm: &Path) -> Result<()> {
    let Some(server) = Server::start()? else {
        return Ok(());
    };
    server
        .helm(helm, &["install", RELEASE, &folder().to_string_lossy()])?
        .ok()?;
    let rendered = Rendered::named(helm, "default")?;
    let plane = Plane::new(&server, rendered.pods())?;

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
    impostor.waits_for("identity: enrolling as service/token-service")?;
    drop(impostor);
    let tokens = plane.start("token-service", "token-service")?;
    tokens.is_ready()?;
    plane.start("supervisor", "supervisor")?.is_ready()
}

/// Pods of the chart as processes on loopback.
struct Plane<'a> {
    server: &'a Server,
    pods: Vec<Pod>,
    authority: u16,
    datastore: u16,
    tokens: u16,
}

/// A part that runs; killed when dropped.
struct Part {
    child: Child,
    program: &'static str,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

impl<'a> Plane<'a> {
    fn new(server: &'a Server, pods: Vec<Pod>) -> Result<Self> {
        let [authority, datastore, tokens] = std::array::from_fn(|_| free_port());
        Ok(Self {
            server,
            pods,
            authority,
            datastore,
            tokens,
        })
    }

    /// Starts a part with the tokens of an account.
    fn start(&self, part: &'static str, account: &str) -> Result<Part> {
        let home = self.server.folder(&format!("{part}-as-{account}"))?;
        self.mount(&home, account)?;
        let pod = self
            .pods
            .iter()
            .find(|pod| pod.part == part)
            .context("no pod")?;
        let mut environment = pod.environment();
        environment.extend(self.here(part, &home)?);
        let log = home.join("log");
        let output = File::create(&log)?;
        let mut command = called(part)?;
        command.arg("serve").envs(environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("starting {part}"))?;
        Ok(Part {
            child,
            program: part,
            environment,
            log,
        })
    }

    /// What kubelet mounts for a pod with this account, its tokens made by the API server.
    fn mount(&self, home: &Path, account: &str) -> Result<()> {
        let account = format!("demo-sextant-{account}");
        let token = |flags: &[&str]| {
            let arguments = [&["create", "token", &account, "--duration=10m"], flags].concat();
            self.server.kubectl(&arguments, "")
        };
        let enrol = format!("--audience=sextant:{NAMESPACE}:demo-sextant");
        let files = [
            ("api/token", token(&[])?),
            ("api/ca.crt", self.server.certificate()?),
            ("api/namespace", NAMESPACE.to_owned()),
            ("enrol/token", token(&[&enrol])?),
        ];
        for folder in ["api", "enrol", "state"] {
            std::fs::create_dir_all(home.join(folder))?;
        }
        for (name, text) in files {
            std::fs::write(home.join(name), text)?;
        }
        Ok(())
    }

    /// Where folders and ports are on this machine.
    fn here(&self, part: &str, home: &Path) -> Result<Vec<(String, String)>> {
        let at = |name: &str| home.join(name).display().to_string();
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        let [admin, public, other] = std::array::from_fn(|_| free_port());
        let listen = match part {
            "cert-authority" => self.authority,
            "datastore-proxy" => self.datastore,
            "token-service" => self.tokens,
            _ => other,
        };
        let mut all = vec![
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", self.server.port().to_string()),
            ("SEXTANT_COMMON__ADMIN_LISTEN", loopback(admin)),
            ("SEXTANT_LISTEN", loopback(listen)),
        ];
        match part {
            "cert-authority" => all.extend([
                ("SEXTANT_STATE_FOLDER", at("state")),
                ("SEXTANT_HOSTING__API__FOLDER", at("api")),
            ]),
            _ => all.extend([
                ("SEXTANT_ENROLL__CERT_AUTHORITY", loopback(self.authority)),
                ("SEXTANT_ENROLL__FOLDER", at("enrol")),
                ("SEXTANT_ENROLL__HOSTING_API__FOLDER", at("api")),
            ]),
        }
        match part {
            "datastore-proxy" => all.push((
                "SEXTANT_ENDPOINT",
                format!("sqlite://{}", at("state/state.db")),
            )),
            "token-service" => all.push(("SEXTANT_DATASTORE", loopback(self.datastore))),
            "supervisor" => all.extend([
                ("SEXTANT_DATASTORE", loopback(self.datastore)),
                ("SEXTANT_TOKEN_SERVICE", loopback(self.tokens)),
                ("SEXTANT_PUBLIC_LISTEN", loopback(public)),
            ]),
            _ => {}
        }
        Ok(all
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }
}

impl Part {
    fn is_ready(&self) -> Result<()> {
        eventually(&format!("{} is ready", self.program), SOON, || {
            let said = self.healthcheck()?;
            ensure!(said.is_empty(), "{said}; its log: {}", self.last_words());
            Ok(())
        })
    }

    /// It says why it isn't ready, and that is an answer of cert-authority's.
    fn waits_for(&self, words: &str) -> Result<()> {
        eventually(
            &format!("{} waits for {words:?}", self.program),
            SOON,
            || {
                let said = self.healthcheck()?;
                ensure!(
                    said.contains(words) && said.contains("supervisor"),
                    "{said}"
                );
                Ok(())
            },
        )
    }

    /// What it waits for; nothing once it is ready.
    fn healthcheck(&self) -> Result<String> {
        let mut command: Command = called(self.program)?;
        command
            .arg("healthcheck")
            .envs(self.environment.iter().cloned());
        let outcome = run(&mut command, QUICK)?;
        Ok(match outcome.code {
            0 => String::new(),
            _ => format!("{}{}", outcome.stdout, outcome.stderr),
        })
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
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
