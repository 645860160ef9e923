//! A controller that runs in a node of a lab.

use crate::support::api::Api;
use crate::support::lab::{Lab, Namespace};
use crate::support::objects::{NODE, namespace, pod, policy};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_controller::app::Bound;
use netpol_controller::config::Config;
use netpol_controller::domain::frame::Established;
use netpol_controller::error::Error;
use serde_json::json;
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::netpol::ExplainRequest;
use sextant_proto::netpol::network_policy_client::NetworkPolicyClient;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

/// Anything that has to happen, happens within this.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What must not arrive is waited for this long.
pub const SILENCE: Duration = Duration::from_millis(300);

/// A controller that runs in the lab's node.
pub struct Running {
    pub api: Api,
    pub client: NetworkPolicyClient<Channel>,
    pub ctx: Context,
    pub config: Config,
    trigger: DrainTrigger,
    running: JoinHandle<Result<(), Error>>,
    _folder: tempfile::TempDir,
}

impl Running {
    pub async fn start(lab_hosts: &[(String, IpAddr, IpAddr)], established: Established) -> Self {
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

    pub async fn allowed(&mut self, from: IpAddr, to: IpAddr, port: u32) -> (bool, Vec<String>) {
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
    pub async fn until(&mut self, from: IpAddr, to: IpAddr, port: u32, allowed: bool) {
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
    pub async fn counted(&self, line: &str) {
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

    pub async fn stop(self) -> Config {
        self.trigger.start();
        timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.config
    }
}

pub fn daemon_set() -> serde_json::Value {
    json!({"metadata": {"namespace": "kube-system", "name": "netpol-controller"},
        "spec": {"selector": {}, "template": {}}})
}

pub fn deny_a() -> NetworkPolicy {
    policy(
        "x",
        "only-c",
        json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]}),
    )
}

pub fn hosts(lab: &Lab) -> Vec<(String, IpAddr, IpAddr)> {
    lab.hosts
        .iter()
        .map(|host| (host.name.clone(), host.v4, host.v6))
        .collect()
}

/// Runs a scenario with a runtime of its own inside the node's network namespace.
pub fn in_node<F: Future<Output = ()>>(
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
