//! A control plane that the dev cluster hosts: installed by Helm, with a node container of its own.

use crate::cluster::{self, Cluster};
use crate::stage::Stages;
use crate::{run, upstream};
use anyhow::{Result, anyhow, bail};
use serde_json::Value;
use sextant_project::{Plane, bin};
use std::collections::BTreeSet;
use std::path::Path;

/// The first NodePorts that are tried.
const PORTS: std::ops::Range<u16> = 30443..30543;

/// Services whose NodePorts a plane has.
const PUBLIC: [&str; 2] = ["kube-apiserver", "supervisor-public"];

/// Which control plane.
#[derive(clap::Args, Clone)]
#[group(id = "hosted")]
pub struct Options {
    #[command(flatten)]
    pub cluster: cluster::Options,
    /// Its name: of its namespace, its release and, with `-1` behind it, its node
    #[arg(long, default_value = "tenant-a")]
    pub name: String,
}

/// Starts the dev cluster if need be, installs a plane into it, joins a node, and says how to use it.
pub fn task(options: &Options) -> Result<()> {
    let mut stages = Stages::new(cluster::stages(&options.cluster) + 5);
    let (host, _) = cluster::start(&options.cluster, &mut stages)?;
    let helm = stages.run("build Helm", || upstream::build_helm()?.program("helm"))?;
    stages.run("load images into the nodes", || {
        Ok(host.project.load_plane_images()?)
    })?;
    let plane = stages.run("install the control plane", || {
        let plane = plane(&host, &options.name)?;
        install(&plane, &helm, &[]).map(|()| plane)
    })?;
    stages.run("wait for its API", || wait_for_api(&host, &plane))?;
    let node = format!("{}-1", plane.name);
    let nodes = stages.run("join a node", || join(&host, &plane, &node))?;
    println!("\n{nodes}\n{}", stages.summary());
    println!("Try:\n");
    println!(
        "  export KUBECONFIG={} PATH={}:$PATH",
        plane.kubeconfig().display(),
        bin().display()
    );
    println!("  kubectl get pods --all-namespaces --output wide");
    println!(
        "  sextant --hosted {} --kubeconfig {} status",
        plane.place(),
        host.project.kubeconfig().display()
    );
    println!(
        "  KUBECONFIG={} {} test {name} --namespace {name} --logs",
        host.project.kubeconfig().display(),
        helm.display(),
        name = plane.name
    );
    Ok(())
}

/// The plane with the NodePorts that it has, or two that are free.
pub fn plane(host: &Cluster, name: &str) -> Result<Plane> {
    let services = host.json(&["get", "services", "--all-namespaces"])?;
    let (api_port, join_port) = ports(&services, name)?;
    Ok(Plane {
        host: host.project.clone(),
        name: name.to_owned(),
        api_port,
        join_port,
    })
}

fn ports(services: &Value, name: &str) -> Result<(u16, u16)> {
    let mut taken = BTreeSet::new();
    let mut own = [None; 2];
    for service in services["items"].as_array().into_iter().flatten() {
        let metadata = &service["metadata"];
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            let Some(port) = port["nodePort"]
                .as_u64()
                .and_then(|p| u16::try_from(p).ok())
            else {
                continue;
            };
            taken.insert(port);
            for (own, part) in own.iter_mut().zip(PUBLIC) {
                if metadata["namespace"] == name && metadata["name"] == format!("{name}-{part}") {
                    *own = Some(port);
                }
            }
        }
    }
    let mut free = PORTS.filter(|port| !taken.contains(port));
    let mut or_free = |own: Option<u16>| own.or_else(|| free.next());
    match (or_free(own[0]), or_free(own[1])) {
        (Some(api), Some(join)) => Ok((api, join)),
        _ => bail!("no NodePort from {} to {} is free", PORTS.start, PORTS.end),
    }
}

/// Installs it, or upgrades it, with these settings beyond those of a plane of the dev cluster.
pub fn install(plane: &Plane, helm: &Path, set: &[String]) -> Result<()> {
    run::logged("helm install", &mut plane.install(helm, set)?)
}

/// Waits until its API is ready, by a kubeconfig of its own; tells which pods it waits for.
pub fn wait_for_api(host: &Cluster, plane: &Plane) -> Result<()> {
    host.wait("the hosted API", || {
        let answered = run::output(&mut plane.write_kubeconfig()).and_then(|_| {
            let ready = ["get", "--raw", "/readyz", "--request-timeout=5s"];
            run::output(plane.kubectl().args(ready))
        });
        answered.map(drop).map_err(|error| {
            let pods = host.json(&["get", "pods", "--namespace", &plane.name]);
            match pods.map(|pods| unready(&pods)) {
                Ok(pods) if !pods.is_empty() => anyhow!("{}", pods.join("; ")),
                _ => error,
            }
        })
    })
}

/// The pods that aren't ready, each with what Kubernetes says of it.
fn unready(pods: &Value) -> Vec<String> {
    let condition = |pod: &Value, kind: &str| {
        let conditions = pod["status"]["conditions"].as_array();
        let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == kind));
        found.cloned().unwrap_or_default()
    };
    let described = |pod: &Value| {
        let why = condition(pod, "PodScheduled")["message"].clone();
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        let why = why.as_str().or(waiting.as_str());
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        format!("{name}: {}", why.unwrap_or("not ready"))
    };
    let pods = pods["items"].as_array().into_iter().flatten();
    pods.filter(|pod| pod["status"]["phase"] != "Succeeded")
        .filter(|pod| condition(pod, "Ready")["status"] != "True")
        .map(described)
        .collect()
}

/// Starts a node unless it runs, and waits for it; returns the table of nodes.
pub fn join(host: &Cluster, plane: &Plane, node: &str) -> Result<String> {
    let name = format!("name=^{}$", plane.container(node));
    let runs = ["ps", "--quiet", "--filter", &name];
    if run::output(std::process::Command::new("docker").args(runs))?.is_empty() {
        plane.remove_nodes(false)?;
        let made = run::output(&mut plane.create_token(node))?;
        run::output(&mut plane.node(&made)?)?;
    }
    host.wait("the node", || {
        let ready = [
            "wait",
            "--for=condition=Ready",
            "--timeout=5s",
            "node",
            node,
        ];
        run::output(plane.kubectl().args(ready)).map(drop)
    })?;
    run::output(plane.kubectl().args(["get", "nodes", "--output", "wide"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, port: u16) -> Value {
        json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"ports": [{"port": 1, "nodePort": port}]}
        })
    }

    #[test]
    fn pods_say_what_they_wait_for() {
        let pod = |name: &str, status: Value| json!({"metadata": {"name": name}, "status": status});
        let waiting = json!([{"state": {"waiting": {"reason": "ErrImageNeverPull"}}}]);
        let unbound = json!({"type": "PodScheduled", "status": "False", "message": "no node fits"});
        let items = vec![
            pod(
                "a",
                json!({"conditions": [{"type": "Ready", "status": "True"}]}),
            ),
            pod("b", json!({"containerStatuses": waiting})),
            pod("c", json!({"conditions": [unbound]})),
            pod(
                "d",
                json!({"conditions": [{"type": "Ready", "status": "False"}]}),
            ),
            pod("e", json!({"phase": "Succeeded"})),
        ];
        let said = ["b: ErrImageNeverPull", "c: no node fits", "d: not ready"];
        assert_eq!(unready(&json!({ "items": items })), said);
    }

    #[test]
    fn a_plane_keeps_its_ports_and_takes_no_others() {
        let items = vec![
            service("tenant-a", "tenant-a-kube-apiserver", 30450),
            service("tenant-a", "tenant-a-supervisor-public", 30451),
            service("web", "web", 30443),
            json!({"metadata": {}, "spec": {"ports": [{"port": 1}]}}),
        ];
        let services = json!({ "items": items });
        assert_eq!(ports(&services, "tenant-a").unwrap(), (30450, 30451));
        assert_eq!(ports(&services, "tenant-b").unwrap(), (30444, 30445));
    }
}
