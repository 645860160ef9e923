//! kube-controller-manager and kube-scheduler beside the API servers.

use crate::servers::{Ended, Servers};
use anyhow::{Context, Result};
use sextant_proto::supervisor::ComponentFile;
use sextant_testkit::free_port;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use supervisor::domain::cluster::ClusterConfig;
use supervisor::domain::components::{Component, component_config};

/// Flags of kube-controller-manager that need no file of a runner's; a name may stand for several.
const OURS: [&str; 9] = [
    "allocate-node-cidrs",
    "cluster-cidr",
    "cluster-name",
    "controllers",
    "kube-api-burst",
    "kube-api-qps",
    "leader-elect",
    "profiling",
    "use-service-account-credentials",
];

/// One of the two.
pub struct Standby {
    process: Ended,
    log: PathBuf,
}

impl Standby {
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// What it has written.
    pub fn said(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("reading a log")
    }

    /// Without a word of warning.
    pub fn kill(self) -> Result<()> {
        let Self { mut process, .. } = self;
        process.0.kill().context("killing")?;
        process.0.wait().context("waiting").map(drop)
    }
}

impl Servers {
    /// Starts one more that does little but stand for election.
    pub fn standby(&self, component: Component) -> Result<Standby> {
        let mut cluster = self.cluster.clone();
        let further = &mut cluster.extra_args.kube_controller_manager;
        further.insert("controllers".to_owned(), "namespace-controller".to_owned());
        self.start_one(component, &cluster)
    }

    /// Starts one more.
    pub fn component(&self, component: Component) -> Result<Standby> {
        self.start_one(component, &self.cluster)
    }

    fn start_one(&self, component: Component, cluster: &ClusterConfig) -> Result<Standby> {
        let folder = self.folder.path();
        let port = free_port();
        let log = folder.join(format!("{port}.log"));
        let ours = component_config(cluster, component);
        let mut flags = vec![
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", folder.join("serving").display()),
        ];
        let (program, further) = if component == Component::Scheduler {
            flags.push(format!(
                "--config={}",
                self.scheduler(&ours.files)?.display()
            ));
            (&self.programs[4], &cluster.extra_args.kube_scheduler)
        } else {
            flags.push(format!("--kubeconfig={}", self.kubeconfig().display()));
            let further = &cluster.extra_args.kube_controller_manager;
            (&self.programs[3], further)
        };
        flags.extend(ours.arguments.into_iter().filter(|flag| {
            let name = flag.trim_start_matches("--").split('=').next();
            let name = name.unwrap_or_default();
            OURS.iter().any(|ours| name.starts_with(ours)) || further.contains_key(name)
        }));
        let process = Command::new(program)
            .args(flags)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("starting {}", component.name()))?;
        let process = Ended(process);
        Ok(Standby { process, log })
    }

    /// kube-scheduler's own file, with the administrator's kubeconfig.
    fn scheduler(&self, files: &[ComponentFile]) -> Result<PathBuf> {
        let file = files.iter().find(|file| file.path == "scheduler.yaml");
        let file = file.context("no configuration of kube-scheduler")?;
        let mut config: serde_json::Value = serde_json::from_slice(&file.content)?;
        config["clientConnection"]["kubeconfig"] = serde_json::json!(self.kubeconfig());
        let path = self.folder.path().join("scheduler.yaml");
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }
}
