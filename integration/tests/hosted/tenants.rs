//! A hosted plane with a node is a cluster as any other.

use crate::world::{SOON, World, node};
use anyhow::{Result, ensure};
use sextant_integration::{Api, Tenant, eventually};

/// Every node has it.
pub const IMAGE: &str = concat!("sextant/toolbox:", env!("CARGO_PKG_VERSION"));

pub fn helm_test(world: &World) -> Result<()> {
    for tenant in [&world.a, &world.b] {
        let said = tenant.helm(&["test", tenant.name(), "--logs"])?.ok()?;
        for part in sextant_integration::PARTS {
            ensure!(
                said.contains(&format!("{part}: ")),
                "{part} isn't in\n{said}"
            );
        }
    }
    Ok(())
}

pub fn workloads(world: &World) -> Result<()> {
    for tenant in [&world.a, &world.b] {
        tenant.apply(&format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {IMAGE}
          command: [sh, -c, "mkdir /tmp/w && hostname > /tmp/w/index.html && echo started && exec httpd -f -p 8080 -h /tmp/w"]
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "86400"]}}
"#
        ))?;
        tenant.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
        tenant.kubectl(&[
            "wait",
            "pod/client",
            "--for=condition=Ready",
            "--timeout=120s",
        ])?;
        eventually("the Service answers by its name", SOON, || fetch(tenant))?;
        let log = tenant.kubectl(&["logs", "deployment/web"])?;
        ensure!(log.trim() == "started", "log: {log:?}");
        closed_by_policy(tenant)?;
        let status = tenant.sextant(&["status"])?.ok()?;
        ensure!(status.contains(&node(tenant)), "{status}");
    }
    Ok(())
}

/// Asks the web server from the client's pod, through exec.
pub fn fetch(tenant: &Tenant) -> Result<String> {
    tenant.kubectl(&[
        "exec",
        "client",
        "--",
        "wget",
        "-q",
        "-T",
        "3",
        "-O",
        "-",
        "http://web/",
    ])
}

fn closed_by_policy(tenant: &Tenant) -> Result<()> {
    tenant.apply(
        "apiVersion: networking.k8s.io/v1\n\
         kind: NetworkPolicy\n\
         metadata: {name: closed}\n\
         spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}\n",
    )?;
    eventually("the policy closes", SOON, || {
        ensure!(fetch(tenant).is_err(), "still answered");
        Ok(())
    })?;
    tenant.kubectl(&["delete", "networkpolicy", "closed"])?;
    eventually("it is open again", SOON, || fetch(tenant)).map(drop)
}
