//! Rights of our own parts on a real kube-apiserver: what is missing or was changed comes back when a supervisor starts, as
//! after an upgrade, and what an administrator cares for himself stays.

use crate::part::Part;
use crate::plane::Plane;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sextant_identity::{Authority, Leaf};
use sextant_integration::run_with_input;
use sextant_proto::certauthority::Profile;
use sextant_testkit::{Process, etcd_flags, eventually, free_port, kube_apiserver_flags};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest time for what waits for kube-apiserver, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const QUICK: Duration = Duration::from_secs(60);

pub async fn rights_come_back_with_a_supervisor() -> Result<()> {
    let Some(mut server) = Server::find()? else {
        return Ok(());
    };
    let mut plane = Plane::new()?;
    for part in Part::ALL {
        start(&mut plane, part, &server)?;
    }
    plane.all_ready().await?;
    server.start(&plane).await?;
    let probe = server.comes("clusterrole", "sextant:probe").await;
    let clients = server
        .comes("clusterrolebinding", "sextant:kubelet-clients")
        .await;
    ensure!(annotation(&probe) == "true", "{probe}");

    // An older version's cluster, in which somebody has changed things, too.
    plane.stop(Part::Supervisor).await?;
    server.kubectl(&["delete", "clusterrole", "sextant:kubelet-metrics"], "")?;
    let mut emptied = probe.clone();
    emptied["rules"] = json!([]);
    server.replace(&emptied)?;
    let mut theirs = server
        .comes("clusterrolebinding", "sextant:kube-proxies")
        .await;
    theirs["subjects"] = json!([]);
    theirs["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] =
        json!("false");
    server.replace(&theirs)?;
    let name = "sextant:kubelet-clients";
    server.kubectl(&["delete", "clusterrolebinding", name], "")?;
    let create = ["create", "clusterrolebinding", name, "--clusterrole=view"];
    server.kubectl(&create, "")?;

    start(&mut plane, Part::Supervisor, &server)?;
    server.comes("clusterrole", "sextant:kubelet-metrics").await;
    for wanted in [&probe, &clients] {
        server.is_again(wanted).await;
    }
    // These were looked at before the ones above: they are applied in order.
    let left = server
        .comes("clusterrolebinding", "sextant:kube-proxies")
        .await;
    ensure!(
        left["subjects"].is_null() && annotation(&left) == "false",
        "{left}"
    );
    plane.stop_all().await
}

/// Starts a part; the supervisor is told where the API is.
fn start(plane: &mut Plane, part: Part, server: &Server) -> Result<()> {
    if part == Part::Supervisor {
        let name = "SEXTANT_CLUSTER__API__INTERNAL".to_owned();
        plane.environment = vec![(name, format!("127.0.0.1:{}", server.port))];
    }
    let started = plane.start(part);
    plane.environment.clear();
    started
}

fn annotation(object: &Value) -> &str {
    let annotations = &object["metadata"]["annotations"];
    let update = &annotations["rbac.authorization.kubernetes.io/autoupdate"];
    update.as_str().unwrap_or_default()
}

/// kube-apiserver on an etcd, with certificates of the plane.
struct Server {
    etcd: PathBuf,
    apiserver: PathBuf,
    kubectl: PathBuf,
    port: u16,
    folder: tempfile::TempDir,
    running: Vec<Process>,
}

impl Server {
    /// The programs; nothing runs yet.
    fn find() -> Result<Option<Self>> {
        let named = ["TEST_ETCD", "TEST_KUBE_APISERVER", "TEST_KUBECTL"].map(program);
        let [Some(etcd), Some(apiserver), Some(kubectl)] = named else {
            return Ok(None);
        };
        Ok(Some(Self {
            etcd,
            apiserver,
            kubectl,
            port: free_port(),
            folder: tempfile::tempdir()?,
            running: Vec::new(),
        }))
    }

    async fn start(&mut self, plane: &Plane) -> Result<()> {
        let store = format!("http://127.0.0.1:{}", free_port());
        let flags = etcd_flags(&store, self.folder.path());
        let etcd = Process::spawn(&self.etcd, &flags, &[]).context("starting etcd")?;
        self.running.push(etcd);
        self.write_files(plane).await?;
        let mut flags = kube_apiserver_flags(&store, self.port, self.folder.path());
        for (flag, file) in [
            ("--client-ca-file", "clients.pem"),
            ("--token-auth-file", "tokens.csv"),
        ] {
            flags.push(format!("{flag}={}", self.file(file).display()));
        }
        let server = Process::spawn(&self.apiserver, &flags, &[]);
        self.running
            .push(server.context("starting kube-apiserver")?);
        Ok(())
    }

    /// Its certificate, whom it trusts, and a token for ourselves.
    async fn write_files(&self, plane: &Plane) -> Result<()> {
        let mesh = plane.enrol("kube-apiserver").await?;
        let leaf = Leaf::obtain(&mesh, Profile::ApiserverServing, &plane.context).await?;
        let credentials = leaf.credentials().borrow().clone();
        let trust = mesh.trust().borrow().clone();
        let accounts = rcgen::KeyPair::generate()?;
        let token = format!("{:032x}", rand::random::<u128>());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": self.file("servers.pem")}}],
            "users": [{"name": "admin", "user": {"token": &token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        });
        let key = credentials.key.private_key_pem();
        for (name, text) in [
            ("tls.crt", credentials.chain_pem()),
            ("tls.key", key.to_string()),
            ("servers.pem", trust.cluster_server_pem()),
            ("clients.pem", trust.anchors_pem(Authority::ClusterClient)),
            ("accounts.key", accounts.serialize_pem()),
            ("accounts.pub", accounts.public_key_pem()),
            (
                "tokens.csv",
                format!("{token},admin,admin,system:masters\n"),
            ),
            ("kubeconfig", kubeconfig.to_string()),
        ] {
            std::fs::write(self.file(name), text)?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.file("kubeconfig"));
        run_with_input(command.args(arguments), input, QUICK)?.ok()
    }

    fn read(&self, kind: &str, name: &str) -> Result<Value> {
        let text = self.kubectl(&["get", kind, name, "-o", "json"], "")?;
        Ok(serde_json::from_str(&text)?)
    }

    fn replace(&self, object: &Value) -> Result<()> {
        let object = object.to_string();
        self.kubectl(&["replace", "-f", "-"], &object).map(drop)
    }

    /// Waits until there is such an object.
    async fn comes(&self, kind: &str, name: &str) -> Value {
        eventually(PATIENCE, name, || async {
            let read = self.read(kind, name);
            read.map_err(|error| format!("{error:#}; {}", self.last_words()))
        })
        .await
    }

    /// Waits until an object says again what it said.
    async fn is_again(&self, wanted: &Value) {
        let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(wanted, "kind"), text(&wanted["metadata"], "name"));
        eventually(PATIENCE, &name, || async {
            let found = self.read(&kind, &name).map_err(|e| format!("{e:#}"))?;
            let same = |key: &str| found[key] == wanted[key];
            if same("rules") && same("roleRef") && same("subjects") {
                Ok(())
            } else {
                Err(found.to_string())
            }
        })
        .await;
    }

    fn last_words(&self) -> String {
        let last = self.running.last();
        last.map_or_else(String::new, |process| crate::plane::tail(&process.output()))
    }
}

fn program(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.as_deref().is_none_or(|path| !Path::exists(path)) {
        println!("SKIP {variable} names no program");
        return None;
    }
    program
}
