//! What a tenant with every right in its own cluster can do to its neighbour: nothing.

use crate::tenants::IMAGE;
use crate::world::{SOON, World, node, text};
use anyhow::{Context, Result, ensure};
use sextant_integration::{Api, Tenant, docker, eventually, run};
use std::time::Duration;

/// A's administrator, at B's supervisor and at B's kube-apiserver.
pub fn identities(world: &World) -> Result<()> {
    let (a, b) = (&world.a, &world.b);
    a.sextant(&["token", "list"])?
        .ok()
        .context("A's administrator at A")?;
    let refused = a.sextant_at(&b.join_address()?, &["token", "list"])?;
    ensure!(
        refused.code != 0,
        "B's supervisor answers A's administrator: {}",
        refused.stdout
    );

    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("kubeconfig");
    a.kubectl(&["get", "--raw", "/readyz"])
        .context("A's administrator at A")?;
    let config = a.kubectl(&["config", "view", "--raw", "--flatten"])?;
    std::fs::write(&copy, config)?;
    let name = a.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].name}"])?;
    let copied = |arguments: &[&str]| {
        run(
            a.kubectl_command()
                .arg("--kubeconfig")
                .arg(&copy)
                .args(arguments),
            Duration::from_secs(30),
        )
    };
    let server = format!("--server=https://{}", b.api_address()?);
    copied(&[
        "config",
        "set-cluster",
        &name,
        &server,
        "--insecure-skip-tls-verify=true",
    ])?
    .ok()?;
    let refused = copied(&["get", "namespaces"])?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("Unauthorized"),
        "B's kube-apiserver on A's certificate: {refused:?}"
    );
    Ok(())
}

/// A node that has a token of A's and asks B's supervisors.
pub fn tokens(world: &World) -> Result<()> {
    let name = format!("{}-thief", world.a.name());
    let container = world.a.container(&name);
    world.a.start_node_at(&world.b.join_address()?, &name)?;
    eventually("the thief is refused", SOON, || {
        let said = docker(&["logs", &container])?;
        ensure!(said.contains("waiting"), "{said}");
        let nodes = [
            world.a.kubectl(&["get", "nodes", "-o", "name"])?,
            world.b.kubectl(&["get", "nodes", "-o", "name"])?,
        ];
        ensure!(
            nodes.iter().all(|nodes| !nodes.contains("thief")),
            "{nodes:?}"
        );
        let status = world.b.sextant(&["node", "list"])?.ok()?;
        ensure!(!status.contains("thief"), "{status}");
        // It was there and was turned away, rather than not there yet.
        ensure!(
            said.contains("join") && (said.contains("CA") || said.contains("refused")),
            "{said}"
        );
        Ok(())
    })?;
    docker(&["rm", "--force", &container])?;
    for ending in ["", "-containerd", "-kubelet", "-log"] {
        docker(&["volume", "rm", "--force", &format!("{container}{ending}")])?;
    }
    Ok(())
}

/// Accounts of A's pods, in the hosting cluster.
pub fn accounts(world: &World) -> Result<()> {
    let (a, b) = (world.a.name(), world.b.name());
    let may = |part: &str, verb: &str, what: &str, namespace: &str| -> Result<bool> {
        let account = format!("system:serviceaccount:{a}:{a}-{part}");
        let asked = [
            "auth", "can-i", verb, what, "-n", namespace, "--as", &account,
        ];
        Ok(world.host.kubectl_outcome(&asked)?.stdout.trim() == "yes")
    };
    for part in sextant_integration::PARTS {
        for namespace in [a, b, "kube-system"] {
            for (verb, what) in [
                ("list", "secrets"),
                ("list", "pods"),
                ("create", "pods"),
                ("create", "serviceaccounts/token"),
            ] {
                ensure!(
                    !may(part, verb, what, namespace)?,
                    "{part} may {verb} {what} in {namespace}"
                );
            }
        }
        for object in [
            "secrets/{}-keyring",
            "secrets/{}-seal",
            "secrets/{}-state",
            "configmaps/{}-trust",
        ] {
            let object = object.replace("{}", b);
            ensure!(!may(part, "get", &object, b)?, "{part} may read {object}");
        }
        let keyring = format!("secrets/{a}-keyring");
        ensure!(
            may(part, "get", &keyring, a)? == (part == "cert-authority"),
            "{part} and {keyring}"
        );
    }
    Ok(())
}

/// Every port that a part listens at.
const PORTS: &str = "2379 2380 6443 7443 9090 9443";

/// From a node of A's, as root in its network, with a route to B's pods.
pub fn network(world: &World) -> Result<()> {
    world.a.apply(&format!(
        r#"
apiVersion: v1
kind: Namespace
metadata: {{name: attack, labels: {{pod-security.kubernetes.io/enforce: privileged}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: root, namespace: attack}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: "{IMAGE}"
      command: [sleep, "86400"]
      securityContext: {{runAsUser: 0, capabilities: {{add: [NET_ADMIN]}}}}
"#
    ))?;
    world.a.kubectl(&[
        "wait",
        "pod/root",
        "-n",
        "attack",
        "--for=condition=Ready",
        "--timeout=120s",
    ])?;
    let root = |command: &str| {
        world
            .a
            .kubectl_outcome(&["exec", "-n", "attack", "root", "--", "sh", "-c", command])
    };
    for part in sextant_integration::PARTS {
        let pods = world.pods(&world.b, part)?;
        ensure!(!pods.is_empty(), "B has no {part}");
        for pod in pods {
            let (ip, on) = (text(&pod, "/status/podIP")?, text(&pod, "/spec/nodeName")?);
            let gateway = world.host.project.node_address(on)?;
            root(&format!("ip route replace {ip}/32 via {gateway}"))?.ok()?;
            let open = root(&format!(
                "for port in {PORTS}; do (nc -w 2 {ip} $port -e /bin/true && echo $port) & done; wait"
            ))?;
            let open = open.stdout.trim().to_owned();
            let public = match part {
                "kube-apiserver" => "6443",
                "supervisor" => "9443",
                _ => "",
            };
            ensure!(
                open == public,
                "{part} {ip}: open for a node of the neighbour: {open:?}"
            );
            root(&format!("ip route del {ip}/32"))?.ok()?;
        }
    }
    world
        .a
        .kubectl(&["delete", "namespace", "attack", "--wait=false"])
        .map(drop)
}

/// A pod of A's whose status claims the address of B's datastore-proxy, asked through A's kube-apiserver: as a proxy that
/// goes by the status, which A's administrator may write. The same pod with the address of a pod of A's is answered, so
/// that it is the neighbour that can't be reached.
pub fn through_the_api_server(world: &World) -> Result<()> {
    let (a, b) = (&world.a, &world.b);
    // Nobody schedules it, so nobody corrects its status.
    a.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: decoy}}
spec:
  nodeSelector: {{nowhere: ""}}
  containers: [{{name: main, image: "{IMAGE}"}}]
"#
    ))?;
    let own = a.get(&["pods", "-l", "app=web"])?;
    let own = text(&own, "/items/0/status/podIP")?.to_owned();
    eventually("a pod of its own answers", SOON, || ask(a, &own, 8080, "/"))?;

    let pods = world.pods(b, "datastore-proxy")?;
    let target = text(
        pods.first().context("B has no datastore-proxy")?,
        "/status/podIP",
    )?;
    let asked = ask(a, target, 9090, "/readyz");
    ensure!(asked.is_err(), "answered: {asked:?}");
    a.kubectl(&["delete", "pod/decoy"])?;
    ensure!(
        a.kubectl(&["get", "node", &node(a)]).is_ok(),
        "A has lost its node"
    );
    Ok(())
}

/// What A's kube-apiserver gets from a port of an address that the decoy claims.
fn ask(a: &Tenant, address: &str, port: u16, path: &str) -> Result<String> {
    let status = serde_json::json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
    let status = status.to_string();
    a.kubectl(&[
        "patch",
        "pod/decoy",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ])?;
    a.kubectl(&[
        "get",
        "--raw",
        &format!("/api/v1/namespaces/default/pods/decoy:{port}/proxy{path}"),
        "--request-timeout=20s",
    ])
}
