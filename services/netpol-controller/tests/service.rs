//! The controller as a whole: a Kubernetes API on one side, a node's kernel on the other, its socket between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod support;

use hyper_util::rt::TokioIo;
use netpol_controller::app::Bound;
use netpol_controller::config::Config;
use netpol_controller::conntrack;
use netpol_controller::domain::frame::Established;
use netpol_controller::error::Error;
use serde_json::json;
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::netpol::network_policy_client::NetworkPolicyClient;
use sextant_proto::netpol::{EnsurePodRequest, ExplainRequest};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Duration;
use support::api::Api;
use support::lab::{Lab, Namespace};
use support::objects::{NODE, namespace, pod, pod_from, policy};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

/// Anything that has to happen, happens within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// What must not arrive is waited for this long.
const SILENCE: Duration = Duration::from_millis(300);

/// A controller that runs in the lab's node.
struct Running {
    api: Api,
    client: NetworkPolicyClient<Channel>,
    ctx: Context,
    trigger: DrainTrigger,
    running: JoinHandle<Result<(), Error>>,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(lab_hosts: &[(String, IpAddr, IpAddr)], established: Established) -> Self {
        let api = Api::default();
        api.put("namespaces", &namespace("x", json!({"ns": "x"})));
        for (name, v4, v6) in lab_hosts {
            let (ns, name) = name.split_once('/').unwrap();
            api.put(
                "pods",
                &pod(
                    ns,
                    name,
                    json!({"pod": name}),
                    &[v4.to_string(), v6.to_string()],
                ),
            );
        }
        api.put("daemonsets", &daemon_set());
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            node_name: NODE.into(),
            socket: folder.path().join("run/netpol.sock"),
            ensure_seconds: 1,
            established,
            ..Config::default()
        };
        let (ctx, trigger) = Context::new();
        let bound = Bound::bind(config.clone(), ctx.clone(), api.serve().await).unwrap();
        let running = tokio::spawn(bound.run());
        let socket = config.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move {
                tokio::net::UnixStream::connect(socket)
                    .await
                    .map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://netpol").connect_with_connector_lazy(connector);
        let client = NetworkPolicyClient::new(channel);
        let this = Self {
            api,
            client,
            ctx,
            trigger,
            running,
            config,
            _folder: folder,
        };
        timeout(PATIENCE, this.ctx.readiness.ready()).await.unwrap();
        this
    }

    async fn allowed(&mut self, from: IpAddr, to: IpAddr, port: u32) -> (bool, Vec<String>) {
        let request = ExplainRequest {
            source: from.to_string(),
            destination: to.to_string(),
            protocol: "TCP".into(),
            port,
        };
        let answer = self.client.explain(request).await.unwrap().into_inner();
        (answer.allowed, answer.reasons)
    }

    /// Waits until the compiled policy has this opinion.
    async fn until(&mut self, from: IpAddr, to: IpAddr, port: u32, allowed: bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (found, reasons) = self.allowed(from, to, port).await;
            if found == allowed {
                return;
            }
            assert!(Instant::now() < end, "{reasons:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the metrics have this line.
    async fn counted(&self, line: &str) {
        let line = format!("sextant_{line}\n");
        let end = Instant::now() + PATIENCE;
        loop {
            let metrics = self.ctx.metrics.encode().unwrap();
            if metrics.contains(&line) {
                return;
            }
            assert!(Instant::now() < end, "no `{line}` in\n{metrics}");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> Config {
        self.trigger.start();
        timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.config
    }
}

fn daemon_set() -> serde_json::Value {
    json!({"metadata": {"namespace": "kube-system", "name": "netpol-controller"},
        "spec": {"selector": {}, "template": {}}})
}

fn deny_a() -> k8s_openapi::api::networking::v1::NetworkPolicy {
    policy(
        "x",
        "only-c",
        json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]}),
    )
}

fn hosts(lab: &Lab) -> Vec<(String, IpAddr, IpAddr)> {
    lab.hosts
        .iter()
        .map(|host| (host.name.clone(), host.v4, host.v6))
        .collect()
}

/// Runs a scenario with a runtime of its own inside the node's network namespace.
fn in_node<F: Future<Output = ()>>(
    node: &Namespace,
    scenario: impl FnOnce() -> F + Send + 'static,
) {
    node.run(move || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(scenario());
    });
}

fn table_exists(node: &Namespace) -> bool {
    node.nft("list tables").contains("sextant-netpol")
}

#[test]
fn a_pod_is_ensured_before_the_api_knows_its_address() {
    let Some(lab) = Lab::new(&["x/a", "x/b", "x/c"]) else {
        return;
    };
    let hosts = hosts(&lab);
    let [(_, a, a6), (_, b, b6), (_, c, _)] =
        [hosts[0].clone(), hosts[1].clone(), hosts[2].clone()];
    in_node(&lab.node, move || async move {
        let mut running = Running::start(&hosts[..1], Established::Cut).await;
        let mode = std::fs::metadata(&running.config.socket)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        running.api.put("networkpolicies", &deny_a());
        running.until(b, a, 80, false).await;
        // The API knows the pod, but no address yet.
        running
            .api
            .put("pods", &pod("x", "c", json!({"pod": "c"}), &[]));
        let ensure = |name: &str, uid: &str, addresses: &[IpAddr]| EnsurePodRequest {
            namespace: "x".into(),
            name: name.into(),
            uid: uid.into(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        };
        let answer = running
            .client
            .ensure_pod(ensure("c", "uid-x-c", &[c]))
            .await
            .unwrap();
        assert_eq!(answer.into_inner().policies, 0);
        let (allowed, reasons) = running.allowed(c, a, 80).await;
        assert!(allowed, "{reasons:?}");
        // A pod that the API doesn't show waits, and then says so.
        let refused = running
            .client
            .ensure_pod(ensure("b", "uid-x-b", &[b, b6]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert!(
            refused.message().contains("hasn't shown the pod"),
            "{}",
            refused.message()
        );
        // It is answered as soon as the API shows it. Its policy is in force by then.
        let mut client = running.client.clone();
        let waiting =
            tokio::spawn(async move { client.ensure_pod(ensure("b", "uid-x-b", &[b, b6])).await });
        running.api.put(
            "networkpolicies",
            &policy(
                "x",
                "b",
                json!({"podSelector": {"matchLabels": {"pod": "b"}}}),
            ),
        );
        // Pods and policies come by different watches.
        running.counted("netpol_policies 2").await;
        running
            .api
            .put("pods", &pod("x", "b", json!({"pod": "b"}), &[]));
        let answer = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.into_inner().policies, 1);
        assert!(!running.allowed(a6, b6, 80).await.0);
        assert!(!running.allowed(a, b, 80).await.0);
        running.stop().await;
    });
}

#[test]
fn explain_names_policy_and_rule_and_refuses_nonsense() {
    let Some(lab) = Lab::new(&["x/a", "x/b", "x/c"]) else {
        return;
    };
    let hosts = hosts(&lab);
    in_node(&lab.node, move || async move {
        let mut running = Running::start(&hosts, Established::Cut).await;
        let [a, b, c] = [hosts[0].1, hosts[1].1, hosts[2].1];
        running.api.put("networkpolicies", &deny_a());
        running.until(b, a, 80, false).await;
        let (_, reasons) = running.allowed(b, a, 80).await;
        assert_eq!(
            reasons[0],
            "egress: allowed: no policy restricts egress of x/b"
        );
        assert!(
            reasons[1].starts_with("ingress: denied: NetworkPolicy x/only-c"),
            "{reasons:?}"
        );
        let (allowed, reasons) = running.allowed(c, a, 80).await;
        assert!(allowed);
        assert!(
            reasons[1].contains("ingress rule 0 of NetworkPolicy x/only-c allows x/c"),
            "{reasons:?}"
        );
        for (source, destination, protocol, port) in [
            ("nobody", "10.0.0.1", "TCP", 80),
            ("10.0.0.1", "fd00::1", "TCP", 80),
            ("10.0.0.1", "10.0.0.2", "ICMP", 80),
            ("10.0.0.1", "10.0.0.2", "TCP", 70_000),
        ] {
            let request = ExplainRequest {
                source: source.into(),
                destination: destination.into(),
                protocol: protocol.into(),
                port,
            };
            let refused = running.client.explain(request).await.unwrap_err();
            assert_eq!(
                refused.code(),
                tonic::Code::InvalidArgument,
                "{}",
                refused.message()
            );
        }
        running.stop().await;
    });
}

#[test]
fn stopping_leaves_policy_in_force_and_turning_off_leaves_nothing() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    let again = hosts.clone();
    in_node(&lab.node, move || async move {
        let running = Running::start(&hosts, Established::Cut).await;
        let config = running.stop().await;
        drop(config);
    });
    assert!(
        table_exists(&lab.node),
        "a stopped controller leaves its table"
    );
    in_node(&lab.node, move || async move {
        let running = Running::start(&again, Established::Cut).await;
        running
            .api
            .delete("daemonsets", "kube-system", "netpol-controller");
        let config = running.stop().await;
        assert!(
            !config.socket.exists(),
            "the CNI plugin must not wait for nobody"
        );
    });
    assert!(
        !table_exists(&lab.node),
        "a controller that is turned off takes its table along"
    );
}

/// Listens in a pod, and writes without end to whoever connects.
fn pour(namespace: &Namespace, port: u16) {
    namespace.run(move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || while stream.write_all(b"more").is_ok() {});
            }
        });
    });
}

fn connect(namespace: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    namespace.run(move || TcpStream::connect_timeout(&(to, port).into(), PATIENCE).unwrap())
}

/// Reads until nothing comes for [`SILENCE`] (`true`), or for [`PATIENCE`] if something always comes.
fn falls_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    let mut buffer = [0; 65_536];
    while std::time::Instant::now() < end {
        if stream.read(&mut buffer).is_err() {
            return true;
        }
    }
    false
}

fn goes_on(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // More than any buffer on the way holds.
    let mut buffer = vec![0; 32 * 1024 * 1024];
    stream.read_exact(&mut buffer).is_ok()
}

/// Connections to a from b (which the policy then forbids) and from c (which it allows).
fn with_connections(
    established: Established,
    then: fn(TcpStream, TcpStream, UdpSocket, UdpSocket),
) {
    let Some(lab) = Lab::new(&["x/a", "x/b", "x/c"]) else {
        return;
    };
    let (a, b, c) = (
        lab.host("x/a").clone(),
        lab.host("x/b").clone(),
        lab.host("x/c").clone(),
    );
    let hosts = hosts(&lab);
    pour(&a.namespace, 80);
    let (proceed, go) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel::<()>();
    let node = lab.node.clone();
    let (a_ip, b_ip) = (a.v4, b.v4);
    let scenario = std::thread::spawn(move || {
        in_node(&node, move || async move {
            let mut running = Running::start(&hosts, established).await;
            ready.send(()).unwrap();
            tokio::task::spawn_blocking(move || go.recv().unwrap())
                .await
                .unwrap();
            running.api.put("networkpolicies", &deny_a());
            running.until(b_ip, a_ip, 80, false).await;
            if established == Established::Cut {
                let end = Instant::now() + Duration::from_secs(1);
                loop {
                    let tracked = tokio::task::spawn_blocking(|| conntrack::list().unwrap())
                        .await
                        .unwrap();
                    let forbidden = |c: &conntrack::Connection| {
                        c.packet.source == b_ip && c.packet.destination == a_ip
                    };
                    if !tracked.iter().any(forbidden) {
                        break;
                    }
                    assert!(
                        Instant::now() < end,
                        "still tracked after a second: {tracked:?}"
                    );
                }
            }
            running.stop().await;
        });
    });
    is_ready.recv_timeout(PATIENCE).unwrap();
    let forbidden = connect(&b.namespace, a.v4, 80);
    let allowed = connect(&c.namespace, a.v4, 80);
    let server = a.namespace.run(|| UdpSocket::bind("0.0.0.0:90").unwrap());
    let client = b.namespace.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    client.connect((a.v4, 90)).unwrap();
    client.send(b"hello").unwrap();
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    server.connect(from).unwrap();
    server.send(b"hello").unwrap();
    client.recv(&mut [0; 8]).unwrap();
    proceed.send(()).unwrap();
    scenario.join().unwrap();
    then(forbidden, allowed, client, server);
}

#[test]
fn connections_that_a_new_policy_forbids_are_cut_and_others_live() {
    with_connections(
        Established::Cut,
        |mut forbidden, mut allowed, client, server| {
            assert!(
                falls_silent(&mut forbidden),
                "the forbidden connection goes on"
            );
            assert!(goes_on(&mut allowed), "the allowed connection was cut");
            server.set_read_timeout(Some(SILENCE)).unwrap();
            client.send(b"still there?").unwrap();
            assert!(
                server.recv(&mut [0; 16]).is_err(),
                "forbidden datagrams arrive"
            );
        },
    );
}

#[test]
fn connections_live_on_where_that_is_asked_for() {
    with_connections(
        Established::Keep,
        |mut forbidden, mut allowed, client, server| {
            assert!(goes_on(&mut forbidden) && goes_on(&mut allowed));
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            client.send(b"still there?").unwrap();
            assert!(server.recv(&mut [0; 16]).is_ok());
        },
    );
}

#[test]
fn a_pod_is_replaced_under_its_name_and_its_address() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    in_node(&lab.node, move || async move {
        let mut running = Running::start(&hosts, Established::Cut).await;
        let [a, b] = [hosts[0].1, hosts[1].1];
        running.api.put(
            "networkpolicies",
            &policy(
                "x",
                "p",
                json!({"podSelector": {"matchLabels": {"pod": "a"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]}),
            ),
        );
        running.until(b, a, 80, true).await;
        // b ends; a pod with other labels gets its address before the API forgets b.
        let mut heir = pod_from(
            "x",
            "heir",
            json!({"pod": "heir"}),
            &[b.to_string()],
            json!([]),
        );
        heir.metadata.creation_timestamp =
            serde_json::from_value(json!("2026-11-23T00:01:00Z")).unwrap();
        running.api.put("pods", &heir);
        running.until(b, a, 80, false).await;
        running.api.delete("pods", "x", "heir");
        running.until(b, a, 80, true).await;
        running.api.delete("pods", "x", "b");
        running.until(b, a, 80, false).await;
        running.stop().await;
    });
}

#[test]
fn a_table_that_somebody_removed_comes_back_with_the_next_change() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    in_node(&lab.node, move || async move {
        let running = Running::start(&hosts, Established::Cut).await;
        let nft = |line: &'static str| async move {
            let words: Vec<_> = line.split(' ').collect();
            let output = tokio::process::Command::new("nft")
                .args(words)
                .output()
                .await
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        nft("delete table inet sextant-netpol").await;
        running.api.put("networkpolicies", &deny_a());
        let end = Instant::now() + PATIENCE;
        while !nft("list ruleset").await.contains("jump ingress-") {
            assert!(
                Instant::now() < end,
                "{:?}",
                running.ctx.readiness.waiting()
            );
        }
        timeout(PATIENCE, running.ctx.readiness.ready())
            .await
            .unwrap();
        for line in [
            "netpol_errors_total 1",
            "netpol_policies 1",
            "netpol_pods 2",
        ] {
            running.counted(line).await;
        }
        running.stop().await;
    });
}
