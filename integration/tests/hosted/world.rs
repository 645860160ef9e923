//! A cluster that hosts, and two planes in it.

use crate::reach;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sextant_integration::{Api, Cluster, PARTS, Tenant, eventually};
use std::path::PathBuf;
use std::time::Duration;

/// The compose project that hosts.
pub const HOST: &str = "sextant-hosting";

/// How long a plane may take to be whole again, on a machine that has other things to do.
pub const SOON: Duration = Duration::from_secs(240);

pub struct World {
    pub host: Cluster,
    pub a: Tenant,
    pub b: Tenant,
}

impl World {
    /// Starts the hosting cluster, both planes and a node of each.
    pub fn start() -> Result<Self> {
        let world = Self::existing()?;
        Cluster::start(HOST, 27443, 28443)?;
        world.host.project.load_plane_images()?;
        world.a.install(&[])?.ok()?;
        world.b.install(&reach::VALUES)?.ok()?;
        reach::balance(&world)?;
        world.a.wait_for_api()?;
        world.a.start_node(&node(&world.a))?;
        world.b.wait_for_api()?;
        reach::start_node(&world, &node(&world.b))?;
        for tenant in [&world.a, &world.b] {
            tenant.wait_for_node(&node(tenant))?;
        }
        Ok(world)
    }

    /// What is there already, in whatever state.
    pub fn existing() -> Result<Self> {
        let helm = std::env::var_os("TEST_HELM").map(PathBuf::from);
        let helm =
            helm.context("TEST_HELM names no helm: `cargo xtask helm` prints where it is")?;
        let host = Cluster::existing(HOST, 27443, 28443);
        Ok(Self {
            a: Tenant::new(&host, &helm, "hosted-a", (30443, 30444)),
            b: Tenant::new(&host, &helm, "hosted-b", (30445, 30446)),
            host,
        })
    }

    /// Removes everything.
    pub fn remove(&self) -> Result<()> {
        self.a.remove()?;
        self.b.remove()?;
        self.host.remove()
    }

    /// Pods of both planes and what they wait for, for a failure's message.
    pub fn diagnosis(&self) -> String {
        let mut text = String::new();
        for tenant in [&self.a, &self.b] {
            let asked: [&[&str]; 2] = [
                &["get", "pods", "-o", "wide", "-n", tenant.name()],
                &[
                    "get",
                    "events",
                    "-n",
                    tenant.name(),
                    "--sort-by=.lastTimestamp",
                    "--field-selector=type=Warning",
                ],
            ];
            for arguments in asked {
                let said = self.host.kubectl(arguments).unwrap_or_default();
                let lines: Vec<_> = said.lines().collect();
                let last = lines.len().saturating_sub(12);
                text.push_str(&lines[last..].join("\n"));
                text.push('\n');
            }
        }
        text
    }

    /// Pods of one part of a plane.
    pub fn pods(&self, tenant: &Tenant, part: &str) -> Result<Vec<Value>> {
        let selector = format!("app.kubernetes.io/component={part}");
        let list = self
            .host
            .get(&["pods", "-n", tenant.name(), "-l", &selector])?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        Ok(pods
            .into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect())
    }

    /// Waits until every pod of a plane is ready and none is on its way out.
    pub fn wait_whole(&self, tenant: &Tenant) -> Result<()> {
        eventually(&format!("all pods of {}", tenant.name()), SOON, || {
            let list = self.host.get(&[
                "pods",
                "-n",
                tenant.name(),
                "-l",
                "app.kubernetes.io/component!=hook,app.kubernetes.io/component!=test",
            ])?;
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            ensure!(pods.len() >= PARTS.len(), "{} pods", pods.len());
            for pod in &pods {
                let name = &pod["metadata"]["name"];
                ensure!(
                    pod["metadata"]["deletionTimestamp"].is_null(),
                    "{name} ends"
                );
                let conditions = pod["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let ready = conditions
                    .iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True");
                ensure!(ready, "{name} isn't ready");
            }
            Ok(())
        })?;
        tenant.wait_for_api()
    }
}

/// Name of a plane's node.
pub fn node(tenant: &Tenant) -> String {
    format!("{}-1", tenant.name())
}

/// A field of an object, as text.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("no {pointer} in {object}"))
}
