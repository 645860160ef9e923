//! docs/authorization.md shows the table as it is: as a graph of who may call whom, and method by method.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use sextant_identity::authz::{Role, Rule, TABLE};
use std::collections::BTreeMap;

/// Which part serves a gRPC service, and where.
const SERVED_BY: &[(&str, &str, &str)] = &[
    ("sextant.certauthority.v1.", "cert-authority", "mesh"),
    ("v2.KeyManagementService", "cert-authority", "mesh"),
    ("sextant.tokenservice.v1.", "token-service", "mesh"),
    ("v1.ExternalJWTSigner", "token-service", "mesh"),
    ("sextant.datastore.v1.", "datastore-proxy", "mesh"),
    ("sextant.supervisor.v1.", "supervisor", "mesh"),
    (
        "sextant.telemetry.v1.",
        "every part of the control plane",
        "mesh",
    ),
    ("sextant.node.v1.", "node-agent", "socket"),
    ("sextant.netpol.v1.", "netpol-controller", "socket"),
];

/// A row of the table, taken apart.
struct Method {
    server: &'static str,
    is_local: bool,
    service: &'static str,
    name: &'static str,
    rule: &'static Rule,
}

fn methods() -> impl Iterator<Item = Method> {
    TABLE.iter().map(|rule| {
        let path = rule.path.trim_start_matches('/');
        let (full, name) = path.split_once('/').expect("/package.Service/Method");
        let (_, server, place) = SERVED_BY
            .iter()
            .find(|(prefix, ..)| full.starts_with(prefix))
            .unwrap_or_else(|| panic!("add to SERVED_BY who serves {full}"));
        Method {
            server,
            is_local: *place == "socket",
            service: full.rsplit('.').next().unwrap_or(full),
            name,
            rule,
        }
    })
}

fn caller(role: &Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Anyone => "anyone",
        Role::Node => "any node",
        Role::Service(name) => name.as_str(),
        Role::Services => "any service",
    }
}

/// One arrow for each caller and server, with the services that it uses.
fn graph() -> String {
    let mut arrows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for method in methods() {
        for role in method.rule.allowed {
            let services = arrows.entry((caller(role), method.server)).or_default();
            if !services.contains(&method.service) {
                services.push(method.service);
            }
        }
    }
    let mut text = "```mermaid\nflowchart LR\n".to_owned();
    for ((caller, server), services) in arrows {
        let id = caller.replace(' ', "-");
        let server = match server.split_once(' ') {
            Some((first, _)) => format!("{first}[{server}]"),
            None => server.to_owned(),
        };
        text += &format!(
            "  {id}[{caller}] -- \"{}\" --> {server}\n",
            services.join(", ")
        );
    }
    text + "```\n"
}

fn table() -> String {
    let mut text = "| served by | method | who may call |\n| --- | --- | --- |\n".to_owned();
    for method in methods() {
        let callers: Vec<_> = method.rule.allowed.iter().map(caller).collect();
        let callers = if method.is_local {
            assert!(callers.is_empty(), "{} is on a socket", method.rule.path);
            "root of the node, over a Unix socket".to_owned()
        } else {
            callers.join(", ")
        };
        let Method {
            server,
            service,
            name,
            ..
        } = method;
        text += &format!("| {server} | `{service}.{name}` | {callers} |\n");
    }
    text
}

#[test]
fn the_documentation_shows_the_table() {
    let text = format!("{}\n{}", graph(), table());
    sextant_testkit::documented("authorization.md", "calls", &text);
}
