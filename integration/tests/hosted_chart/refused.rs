//! Values that can't be: each refused with a sentence that says what is wrong, and before anything is made.

use crate::chart::{folder, helm, outcome, template};
use anyhow::{Result, ensure};
use std::path::Path;

pub fn lint_has_nothing_to_say(program: &Path) -> Result<()> {
    let chart = folder();
    let mut command = helm(program, &["lint", "--strict", &chart.to_string_lossy()]);
    let said = outcome(&mut command)?.ok()?;
    ensure!(
        !said.contains("WARNING") && !said.contains("ERROR"),
        "{said}"
    );
    Ok(())
}

/// What is set, and what is said.
const WRONG: &[(&[&str], &str)] = &[
    // The schema.
    (
        &["datastore.type=oracle"],
        "at '/datastore/type': value must be one of 'sqlite', 'postgres', 'mysql', 'etcd'",
    ),
    (
        &["kubeApiserver.replica=3"],
        "at '/kubeApiserver': additional properties 'replica' not allowed",
    ),
    (
        &["kubeApiserver.replicas=three"],
        "at '/kubeApiserver/replicas': got string, want integer",
    ),
    (
        &["datastore.postgres.port=70000"],
        "at '/datastore/postgres/port': maximum: got 70,000, want 65,535",
    ),
    (
        &["supervisors.replicas=2"],
        "additional properties 'supervisors' not allowed",
    ),
    (
        &["certAuthority.state=folder"],
        "at '/certAuthority/state': value must be one of 'secret', 'volume'",
    ),
    (
        &["public.apiserver.service.type=External"],
        "value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'",
    ),
    (
        &["defaults.resources.limits.memory=lots"],
        "at '/defaults/resources/limits/memory': 'lots' does not match pattern",
    ),
    // Rules over several values.
    (
        &[
            "public.ingress.enabled=true",
            "public.apiserver.endpoint=198.51.100.7:6443",
            "public.supervisor.endpoint=join.example.org:443",
        ],
        "public.apiserver.endpoint is \"198.51.100.7:6443\", but routes go by the host name in TLS, which an address isn't: \
         set it to name:port",
    ),
    (
        &["datastoreProxy.replicas=3"],
        "datastoreProxy.replicas is 3, but datastore-proxy keeps its state on one volume and has one replica: set it to \
         1, or datastore.type to postgres, mysql or etcd",
    ),
    (
        &["datastoreProxy.autoscaling.enabled=true"],
        "datastoreProxy.autoscaling.enabled is true, but datastore-proxy keeps its state on one volume",
    ),
    (
        &[
            "certAuthority.state=volume",
            "defaults.replicas=2",
            "datastoreProxy.replicas=1",
        ],
        "certAuthority.replicas is 2, but cert-authority keeps its state on one volume and has one replica: set it to 1, \
         or certAuthority.state to secret",
    ),
    (
        &["kubeApiserver.autoscaling.minReplicas=9"],
        "kubeApiserver.autoscaling.minReplicas is 9, more than maxReplicas, which is 4",
    ),
    (
        &["datastore.type=postgres"],
        "datastore.postgres.host is empty: set it to the server's name",
    ),
    (
        &["datastore.type=postgres", "datastore.postgres.host=db"],
        "datastore.postgres.schema is \"\": set it to a schema of this control plane alone",
    ),
    (
        &[
            "datastore.type=postgres",
            "datastore.postgres.host=db",
            "datastore.postgres.schema=a",
        ],
        "datastore.postgres.caSecret.name is empty: the connection is always TLS",
    ),
    (
        &["datastore.type=mysql", "datastore.mysql.host=db"],
        "datastore.mysql.database is \"\": set it to a database of this control plane alone",
    ),
    (
        &["datastore.type=etcd"],
        "datastore.etcd.endpoints is empty: set it to host:port of each member",
    ),
    (
        &["datastore.type=etcd", "datastore.etcd.endpoints[0]=e:2379"],
        "datastore.etcd.tlsSecret.name is empty: the connection is always TLS",
    ),
    (
        &["public.supervisor.service.type=NodePort"],
        "public.supervisor.endpoint is empty: set it to the address of a hosting node and the port there",
    ),
    (
        &["public.apiserver.endpoint=https://api.example.org"],
        "public.apiserver.endpoint is \"https://api.example.org\": it must be host:port without a scheme",
    ),
    (
        &["public.gateway.enabled=true"],
        "the route goes by its host name; set it to name:port",
    ),
    (
        &[
            "public.gateway.enabled=true",
            "public.apiserver.endpoint=a.org:443",
            "public.supervisor.endpoint=j.org:443",
        ],
        "public.gateway.parentRefs is empty: name the Gateway that the routes belong to",
    ),
    (
        &[
            "public.ingress.enabled=true",
            "public.apiserver.endpoint=a.org:443",
            "public.supervisor.endpoint=a.org:9443",
        ],
        "have the same host, but routes tell them apart by it",
    ),
    (
        &["cluster.podCidr=ten"],
        "cluster.podCidr is \"ten\": it must be a network, as 10.96.0.0/16",
    ),
    (
        &["cluster.dnsAddress=dns"],
        "cluster.dnsAddress is \"dns\": it must be an IP address",
    ),
    (
        &["telemetry.otlpEndpoint=collector:4317"],
        "it must be a URL of OTLP over gRPC",
    ),
    (
        &["telemetry.otlpEndpoint=https://collector:4317"],
        "telemetry.tlsSecret.name is empty: name a Secret with ca.crt",
    ),
    (
        &[
            "telemetry.otlpEndpoint=http://collector:4317",
            "telemetry.tlsSecret.name=collector",
        ],
        "without TLS: begin it with https://",
    ),
    (
        &["fullnameOverride=a-control-plane-with-a-name-too-long"],
        "objects can't be named after \"a-control-plane-with-a-name-too-long\": set fullnameOverride to at most 34",
    ),
];

pub fn wrong_values_are_named(program: &Path) -> Result<()> {
    for (set, sentence) in WRONG {
        let flags: Vec<&str> = set.iter().flat_map(|one| ["--set", one]).collect();
        let outcome = template(program, &flags)?;
        ensure!(outcome.code != 0, "{set:?} was taken");
        ensure!(
            outcome.stderr.contains(sentence),
            "{set:?}: {}",
            outcome.stderr
        );
    }
    Ok(())
}
