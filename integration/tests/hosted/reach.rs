//! Ways to a plane beside a NodePort. B's Services are of type LoadBalancer; this test is the load balancer's controller, which
//! gives them an address, and kube-proxy of the hosting nodes answers there.

use crate::route::Route;
use crate::tenants::IMAGE;
use crate::world::{SOON, World};
use anyhow::{Context, Result, ensure};
use sextant_integration::{Api, docker, eventually, root};
use std::collections::BTreeMap;

/// Of a network for documentation.
const BALANCER: &str = "203.0.113.7";
const API: &str = "203.0.113.7:6443";
const JOIN: &str = "203.0.113.7:9443";
/// Names that B's kube-apiserver has a certificate for, and doesn't.
const NAME: &str = "api.hosted-b.example.org";
const OTHER: &str = "api.hosted-a.example.org";

/// What B is installed with.
pub const VALUES: [&str; 4] = [
    "public.apiserver.service.type=LoadBalancer",
    "public.apiserver.nodeEndpoints={203.0.113.7:6443}",
    "public.apiserver.names={203.0.113.7,api.hosted-b.example.org}",
    "public.supervisor.service.type=LoadBalancer",
];

/// Gives B's Services their address.
pub fn balance(world: &World) -> Result<()> {
    let name = world.b.name();
    let status =
        format!(r#"{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{BALANCER}"}}]}}}}}}"#);
    for part in ["kube-apiserver", "supervisor-public"] {
        let service = format!("{name}-{part}");
        let patch = [
            "patch",
            "service",
            &service,
            "-n",
            name,
            "--subresource=status",
        ];
        let what = ["--type=merge", "-p", &status];
        world.host.kubectl(&[&patch[..], &what].concat())?;
    }
    Ok(())
}

/// Starts a node of B that knows the load balancer alone, and gives it a way there: over a hosting node, as a router would.
pub fn start_node(world: &World, node: &str) -> Result<()> {
    world.b.start_node_at(JOIN, node)?;
    let network = format!("--network=container:{}", world.b.container(node));
    let router = world.host.project.node_address("node-1")?;
    let add = ["ip", "route", "add", BALANCER, "via", &router];
    let run = [
        "run",
        "--rm",
        "--cap-add=NET_ADMIN",
        "--user=0",
        &network,
        IMAGE,
    ];
    docker(&[&run[..], &add].concat()).map(drop)
}

/// B's node is Ready, and has come there by the load balancer. A client that knows it by its address reads.
pub fn load_balancer(world: &World) -> Result<()> {
    let b = &world.b;
    let node = crate::world::node(b);
    let inspected = world.host.inspect(&b.container(&node))?;
    let environment = inspected["Config"]["Env"].to_string();
    ensure!(
        environment.contains(JOIN) && !environment.contains(&b.join_address()?),
        "{environment}"
    );
    b.wait_for_node(&node)?;
    let router = world.host.project.node_address("node-1")?;
    let script = format!(
        "ip route add {BALANCER} via {router} && exec /kubectl --kubeconfig /kubeconfig --server https://{API} \
         --request-timeout 10s get --raw /readyz"
    );
    let kubectl = format!("{}:/kubectl:ro", root().join("out/bin/kubectl").display());
    let kubeconfig = format!("{}:/kubeconfig:ro", b.static_kubeconfig()?.display());
    let network = format!("--network={}_nodes", world.host.project());
    let run = ["run", "--rm", "--cap-add=NET_ADMIN", "--user=0", &network];
    let rest = [
        "--volume",
        &kubectl,
        "--volume",
        &kubeconfig,
        IMAGE,
        "sh",
        "-c",
        &script,
    ];
    eventually("the API behind the load balancer", SOON, || {
        let said = docker(&[&run[..], &rest].concat())?;
        ensure!(said == "ok", "{said}");
        Ok(())
    })
}

/// A route that goes by the name in TLS, as TLSRoute and Ingress with passed-through TLS do: kube-apiserver's certificate has
/// the name of the values, and both ports are asked with a name that a route can go by.
pub fn names(world: &World) -> Result<()> {
    let b = &world.b;
    let (api, join) = (b.api_address()?, b.join_address()?);
    let to_api = || api.clone();
    let routes = BTreeMap::from([
        (NAME.to_owned(), to_api()),
        (OTHER.to_owned(), to_api()),
        ("localhost".to_owned(), join),
    ]);
    let route = Route::start(routes)?;
    let server = format!("https://127.0.0.1:{}", route.port());
    let ask = |name: &str| {
        let fixed = b.static_kubeconfig()?;
        let kubeconfig = fixed.to_str().context("a path")?;
        let named = [
            "--kubeconfig",
            kubeconfig,
            "--server",
            &server,
            "--tls-server-name",
            name,
        ];
        b.kubectl_outcome(&[&named[..], &["get", "--raw", "/readyz"]].concat())
    };
    let answered = ask(NAME)?;
    ensure!(
        answered.code == 0 && answered.stdout == "ok",
        "{answered:?}"
    );
    let refused = ask(OTHER)?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("certificate is valid for"),
        "a certificate for {OTHER}, too: {refused:?}"
    );
    let status = b.sextant_at(&format!("localhost:{}", route.port()), &["node", "list"])?;
    ensure!(
        status.ok()?.contains(&crate::world::node(b)),
        "B's node isn't there"
    );
    let taken = route.taken();
    for name in [NAME, OTHER, "localhost"] {
        ensure!(taken.iter().any(|one| one == name), "{name}: {taken:?}");
    }
    Ok(())
}
