//! etcd and kube-apiserver as processes, with a key, a certificate and a token made for them.

use crate::chart::{NAMESPACE, helm, outcome, program};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sextant_integration::{Outcome, eventually, run_with_input};
use sextant_testkit::free_port;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(120);
const QUICK: Duration = Duration::from_secs(60);

/// etcd and kube-apiserver on loopback, with a namespace where pods must be restricted.
pub struct Server {
    folder: TempDir,
    kubectl: PathBuf,
    port: u16,
    children: Vec<Child>,
}

impl Server {
    pub fn start() -> Result<Option<Self>> {
        let named = ["TEST_ETCD", "TEST_KUBE_APISERVER", "TEST_KUBECTL"].map(program);
        let [Some(etcd), Some(apiserver), Some(kubectl)] = named else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("sextant-").tempdir()?;
        let [client, peer, port] = std::array::from_fn(|_| free_port());
        let mut server = Self {
            folder,
            kubectl,
            port,
            children: Vec::new(),
        };
        let store = format!("http://127.0.0.1:{client}");
        server.spawn(
            Command::new(etcd)
                .arg(server.flag("--data-dir", "etcd"))
                .arg(format!("--listen-client-urls={store}"))
                .arg(format!("--advertise-client-urls={store}"))
                .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}")),
            "etcd",
        )?;
        server.write_files()?;
        server.spawn(
            Command::new(apiserver)
                .arg(format!("--etcd-servers={store}"))
                .arg(format!("--secure-port={port}"))
                .arg(server.flag("--tls-cert-file", "tls.crt"))
                .arg(server.flag("--tls-private-key-file", "tls.key"))
                .arg(server.flag("--token-auth-file", "tokens.csv"))
                .arg(server.flag("--service-account-key-file", "accounts.pub"))
                .arg(server.flag("--service-account-signing-key-file", "accounts.key"))
                // Nobody is here who would make the accounts' tokens.
                .arg("--disable-admission-plugins=ServiceAccount")
                .args([
                    "--bind-address=127.0.0.1",
                    "--endpoint-reconciler-type=none",
                ])
                .args([
                    "--authorization-mode=RBAC",
                    "--service-cluster-ip-range=10.0.0.0/24",
                ])
                .arg("--service-account-issuer=https://kubernetes.default.svc"),
            "kube-apiserver",
        )?;
        eventually("kube-apiserver is ready", START, || {
            server
                .kubectl(&["get", "--raw", "/readyz"], "")
                .with_context(|| server.last_words())
        })?;
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": labels}});
        // The API answers before it has the built-in priority classes.
        eventually("the namespace and its surroundings", START, || {
            server.kubectl(&["apply", "-f", "-"], &namespace.to_string())?;
            server.kubectl(&["get", "priorityclass", "system-cluster-critical"], "")
        })?;
        Ok(Some(server))
    }

    /// How many of the objects the server would take.
    pub fn dry_run(&self, objects: &[Value]) -> Result<usize> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let command = [
            "create",
            "--dry-run=server",
            "--validate=strict",
            "-o",
            "name",
            "-f",
            "-",
        ];
        Ok(self.kubectl(&command, &list.to_string())?.lines().count())
    }

    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command.args(["--namespace", NAMESPACE]).args(arguments);
        run_with_input(&mut command, input, QUICK)?.ok()
    }

    /// helm on this server.
    pub fn helm(&self, program: &Path, arguments: &[&str]) -> Result<Outcome> {
        let mut command = helm(program, arguments);
        command
            .args(["--namespace", NAMESPACE])
            .arg("--kubeconfig")
            .arg(self.kubeconfig());
        outcome(&mut command)
    }

    /// The port that it serves on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, which is its own authority.
    pub fn certificate(&self) -> Result<String> {
        let file = self.folder.path().join("tls.crt");
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// A new folder that ends with the server.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn flag(&self, name: &str, file: &str) -> String {
        format!("{name}={}", self.folder.path().join(file).display())
    }

    fn spawn(&mut self, command: &mut Command, name: &str) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log")))?;
        let command = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.children.push(child);
        Ok(())
    }

    /// Keys, a certificate and a token, for this run alone.
    fn write_files(&self) -> Result<()> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = certificate.self_signed(&key)?.pem();
        let accounts = rcgen::KeyPair::generate()?;
        let token = format!("{:032x}", rand::random::<u128>());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": self.folder.path().join("tls.crt")}}],
            "users": [{"name": "admin", "user": {"token": &token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        });
        let files = [
            ("tls.crt", certificate),
            ("tls.key", key.serialize_pem()),
            ("accounts.key", accounts.serialize_pem()),
            ("accounts.pub", accounts.public_key_pem()),
            (
                "tokens.csv",
                format!("{token},admin,admin,system:masters\n"),
            ),
            ("kubeconfig", kubeconfig.to_string()),
        ];
        for (name, text) in files {
            std::fs::write(self.folder.path().join(name), text)?;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("kube-apiserver.log"));
        let log = log.unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        format!("the log's last lines, backwards: {last:#?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
