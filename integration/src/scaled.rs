//! A cluster of the compose file whose every part can have replicas: its datastore is an etcd.

use crate::load::Streams;
use crate::{Api, Cluster, docker, eventually, root, run};
use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The pod whose log counts, see [`Streams`].
pub const POD: &str = "count";

const SOON: Duration = Duration::from_secs(180);
/// The user of every service.
const USER: u32 = 65532;

/// The cluster, and the files of its etcd.
pub struct Scaled {
    /// The cluster.
    pub cluster: Cluster,
    folder: TempDir,
    etcd: PathBuf,
}

impl Scaled {
    /// One that doesn't run yet. `etcd` is the program.
    ///
    /// # Errors
    /// The etcd's files can't be written.
    pub fn new(project: &str, (api, join): (u16, u16), etcd: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        write_files(folder.path())?;
        Ok(Self {
            cluster: Cluster::existing(project, api, join),
            folder,
            etcd: etcd.to_owned(),
        })
    }

    /// Removes what an earlier run left and starts it with one replica of each part, and a pod that counts.
    ///
    /// # Errors
    /// Docker refuses, or it isn't ready in time.
    pub fn start(&self) -> Result<()> {
        self.remove()?;
        self.compose(&["up", "--detach"])?;
        self.cluster.wait_ready(2)?;
        self.start_pod(POD, None)
    }

    /// Starts a pod that counts, on a node of one's choice, and waits until it is ready.
    ///
    /// # Errors
    /// It isn't within two minutes.
    pub fn start_pod(&self, name: &str, node: Option<&str>) -> Result<()> {
        let image = concat!("sextant/toolbox:", env!("CARGO_PKG_VERSION"));
        let mut pod = Streams::pod(name, image);
        if let Some(node) = node {
            pod.push_str(&format!("  nodeName: {node}\n"));
        }
        self.cluster.apply(&pod)?;
        let wait = ["wait", "--for=condition=Ready", "--timeout=120s", "pod"];
        let ready = [&wait[..], &[name]].concat();
        self.cluster.kubectl(&ready).map(drop)
    }

    /// Sets how many replicas each of these parts has, and all others to one; waits until theirs are ready and no others
    /// there.
    ///
    /// # Errors
    /// Not within three minutes; holds the last state.
    pub fn scale(&self, parts: &[&str], replicas: usize) -> Result<()> {
        let scale = parts
            .iter()
            .map(|part| format!("--scale={part}={replicas}"));
        let scale: Vec<String> = scale.collect();
        let mut up = vec!["up", "--detach", "--no-recreate"];
        up.extend(scale.iter().map(String::as_str));
        self.compose(&up)?;
        for part in parts {
            eventually(&format!("{replicas} of {part}"), SOON, || {
                let ready = self.ready(part)?;
                ensure!(ready == vec![true; replicas], "ready: {ready:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lets each replica of a part use so many cores at most.
    ///
    /// # Errors
    /// Docker refuses.
    pub fn limit(&self, part: &str, cores: f64) -> Result<()> {
        let replicas = self.compose(&["ps", "--quiet", part])?;
        let cores = cores.to_string();
        let mut update = vec!["update", "--cpus", &cores];
        update.extend(replicas.split_whitespace());
        docker(&update).map(drop)
    }

    /// Stops a part's replicas, starts them again and waits until they are ready.
    ///
    /// # Errors
    /// Docker refuses, or they aren't ready within three minutes.
    pub fn restart(&self, part: &str) -> Result<()> {
        self.compose(&["restart", part])?;
        eventually(&format!("{part} is back"), SOON, || {
            let ready = self.ready(part)?;
            ensure!(ready.iter().all(|ready| *ready), "ready: {ready:?}");
            Ok(())
        })
    }

    /// Stops and removes all of it.
    ///
    /// # Errors
    /// Docker fails.
    pub fn remove(&self) -> Result<()> {
        // What compose/etcd.yaml adds is only removed by name.
        let ended = self.compose(&["down", "--volumes", "--timeout", "5", "--remove-orphans"]);
        self.cluster.borne(ended, true)?;
        self.cluster.remove()
    }

    /// A kubeconfig that holds a certificate.
    ///
    /// # Errors
    /// The CLI fails.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("kubeconfig");
        let mut command = self.cluster.project.sextant();
        command
            .args(["kubeconfig", "--static", "--ttl", "2h", "--api-server"])
            .arg(self.cluster.api_url())
            .arg("--output-file")
            .arg(&path);
        run(&mut command, Duration::from_secs(30))?.ok()?;
        Ok(path)
    }

    /// Of each replica of a part, whether it is ready.
    fn ready(&self, part: &str) -> Result<Vec<bool>> {
        // It fails where anything isn't ready, and tells all the same.
        let said = self.cluster.sextant(&["status", "--output", "json"])?;
        let status: Value = serde_json::from_str(&said.stdout)
            .with_context(|| format!("reading what `sextant status` says: {}", said.stderr))?;
        let parts = status["parts"].as_array().context("no parts")?;
        let named = parts.iter().filter(|replica| replica["name"] == part);
        Ok(named.map(|replica| replica["ready"] == true).collect())
    }

    fn compose(&self, arguments: &[&str]) -> Result<String> {
        let files = [
            root().join("compose/etcd.yaml"),
            root().join("integration/src/scaled/etcd.yaml"),
        ];
        let files = files.map(|file| file.display().to_string());
        let mut all = vec!["--file", files[0].as_str(), "--file", &files[1]];
        all.extend(arguments);
        let (etcd, folder) = (
            self.etcd.display().to_string(),
            self.folder.path().join("etcd").display().to_string(),
        );
        let settings = [
            ("SEXTANT_ETCD", "etcd://etcd:2379/planes/scaled"),
            ("SEXTANT_ETCD_TLS", folder.as_str()),
            ("TEST_ETCD", etcd.as_str()),
        ];
        self.cluster.compose_with(&settings, &all)
    }
}

/// One authority, and one pair for the etcd and for who asks it.
fn write_files(folder: &Path) -> Result<()> {
    let authority = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let anchor = params.self_signed(&authority)?.pem();
    let issuer = Issuer::new(params, authority);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["etcd".to_owned()])?;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let folder = folder.join("etcd");
    std::fs::create_dir(&folder)?;
    let files = [
        ("ca.pem", anchor),
        ("tls.crt", params.signed_by(&key, &issuer)?.pem()),
        ("tls.key", key.serialize_pem()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400))?;
        chown(&path, Some(USER), Some(USER))?;
    }
    chown(&folder, Some(USER), Some(USER)).context("giving the etcd its files")
}
