//! The chart, rendered by the real helm.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sextant_integration::{Outcome, run};
use sextant_project::root;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const RELEASE: &str = "demo";
pub const NAMESPACE: &str = "planes";
const DEADLINE: Duration = Duration::from_secs(60);

/// The program that a variable names; a test without it says so and is skipped.
pub fn program(variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    if named.is_none() {
        println!("SKIP {variable} names no program");
    }
    named
}

/// A helm command, on nobody's cluster.
pub fn helm(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_remove("KUBECONFIG").args(arguments);
    command
}

/// How helm ended.
pub fn outcome(command: &mut Command) -> Result<Outcome> {
    run(command, DEADLINE)
}

/// `helm template` with these further arguments.
pub fn template(program: &Path, arguments: &[&str]) -> Result<Outcome> {
    let chart = folder();
    let chart = chart.to_string_lossy();
    let mut command = helm(program, &["template", RELEASE, &chart]);
    outcome(command.args(["--namespace", NAMESPACE]).args(arguments))
}

pub fn folder() -> PathBuf {
    root().join("helm/sextant")
}

/// The chart's objects with one file of values.
pub struct Rendered {
    /// Name of that file.
    pub values: String,
    pub objects: Vec<Value>,
    pub text: String,
}

/// A pod as the chart wants it.
pub struct Pod {
    /// The part it belongs to, or `test`, or `hook`.
    pub part: String,
    pub labels: Map<String, Value>,
    pub spec: Value,
}

impl Rendered {
    /// The chart with each of the files in `values/`.
    pub fn all(program: &Path) -> Result<Vec<Self>> {
        let mut files: Vec<PathBuf> = folder_of_values()
            .read_dir()?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        files.iter().map(|file| Self::with(program, file)).collect()
    }

    /// The chart with one value set.
    pub fn set(program: &Path, value: &str) -> Result<Self> {
        let text = template(program, &["--set", value])?.ok()?;
        Ok(Self {
            values: value.to_owned(),
            objects: objects(&text)?,
            text,
        })
    }

    /// The chart with `values/<name>.yaml`.
    pub fn named(program: &Path, name: &str) -> Result<Self> {
        let file = folder_of_values().join(name).with_extension("yaml");
        Self::with(program, &file)
    }

    fn with(program: &Path, file: &Path) -> Result<Self> {
        let values = file.file_stem().unwrap_or_default().to_string_lossy();
        let text = template(program, &["--values", &file.to_string_lossy()])?
            .ok()
            .with_context(|| format!("rendering with {values}"))?;
        Ok(Self {
            values: values.into_owned(),
            objects: objects(&text)?,
            text,
        })
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(move |object| object["kind"] == kind)
    }

    /// What all names begin with.
    pub fn fullname(&self) -> &'static str {
        match self.values.as_str() {
            "node-port" => "blue",
            _ => "demo-sextant",
        }
    }

    pub fn pods(&self) -> Vec<Pod> {
        let owners = ["Deployment", "StatefulSet"].into_iter();
        let owned = owners
            .flat_map(|kind| self.of_kind(kind))
            .map(Pod::owned_by);
        owned.chain(self.of_kind("Pod").map(Pod::of)).collect()
    }

    /// Pods of the hooks.
    pub fn hooks(&self) -> impl Iterator<Item = Pod> {
        self.of_kind("Job").map(Pod::owned_by)
    }
}

impl Pod {
    /// A pod as the controller of its owner makes it, with the volumes that the owner claims for each.
    fn owned_by(owner: &Value) -> Self {
        let mut pod = Self::of(&owner["spec"]["template"]);
        for claim in items(&owner["spec"]["volumeClaimTemplates"]) {
            let name = &claim["metadata"]["name"];
            let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
            if let Some(volumes) = pod.spec["volumes"].as_array_mut() {
                volumes.push(volume);
            }
        }
        pod
    }

    fn of(template: &Value) -> Self {
        let labels = template["metadata"]["labels"].as_object().cloned();
        let labels = labels.unwrap_or_default();
        Self {
            part: text(&labels["app.kubernetes.io/component"]),
            labels,
            spec: template["spec"].clone(),
        }
    }

    pub fn containers(&self) -> &[Value] {
        items(&self.spec["containers"])
    }

    /// Ports that it listens on, by their names.
    pub fn ports(&self) -> Vec<(String, u64)> {
        let ports = self
            .containers()
            .iter()
            .flat_map(|one| items(&one["ports"]));
        ports
            .map(|port| {
                (
                    text(&port["name"]),
                    port["containerPort"].as_u64().unwrap_or(0),
                )
            })
            .collect()
    }

    /// The environment, as far as it is plain text.
    pub fn environment(&self) -> Vec<(String, String)> {
        let all = self.containers().iter().flat_map(|one| items(&one["env"]));
        all.filter(|one| one["value"].is_string())
            .map(|one| (text(&one["name"]), text(&one["value"])))
            .collect()
    }
}

fn folder_of_values() -> PathBuf {
    root().join("integration/tests/hosted_chart/values")
}

/// The documents of a YAML stream that aren't empty.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    let all: Vec<Value> = documents
        .collect::<Result<_, _>>()
        .context("reading YAML")?;
    Ok(all.into_iter().filter(|object| !object.is_null()).collect())
}

/// A list; nothing where there is none.
pub fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `Kind name`, for messages.
pub fn shown(object: &Value) -> String {
    format!(
        "{} {}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}
