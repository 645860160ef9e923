use crate::join::joiner;
use crate::supervisor::{Seen, Supervisor};
use node_agent::app::SESSION;
use node_agent::join::{Joined, Renewal};
use node_agent::session::Sessions;
use node_agent::store::Last;
use sextant_identity::{Identity, Mesh};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::node_report::Report;
use sextant_proto::supervisor::{NodeConfig, NodeInstruction};
use sextant_proto::supervisor::{TelemetryInstruction, TelemetryOutcome};
use sextant_proto::telemetry::telemetry_server::{Telemetry, TelemetryServer};
use sextant_proto::telemetry::{ChangeRequest, LogChange, Settings};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A node that has joined.
pub(crate) struct Node {
    pub(crate) last: Last,
    pub(crate) ctx: Context,
    pub(crate) addresses: watch::Sender<Vec<IpAddr>>,
    credentials: watch::Receiver<Arc<sextant_identity::Credentials>>,
    folder: tempfile::TempDir,
    _trigger: DrainTrigger,
}

/// A node that has joined, with its session and its renewal running.
pub(crate) async fn node(supervisor: &Supervisor) -> Node {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), supervisor.token()).unwrap();
    let joiner = joiner(supervisor, folder.path());
    let own = vec!["127.0.0.1".parse().unwrap()];
    let Joined {
        credentials,
        trust,
        config,
    } = joiner.attempt(&own).await.unwrap();
    let credentials = watch::Sender::new(Arc::new(credentials));
    let trust = watch::Sender::new(Arc::new(trust));
    let identity = Identity::Node("node-1".parse().unwrap());
    let mesh = Mesh::from_parts(identity, credentials.subscribe(), trust.subscribe());
    let (ctx, trigger) = Context::new();
    let last = Last::new(&joiner.state, config).unwrap();
    let addresses = watch::Sender::new(own);
    let removed = Arc::new(Notify::new());
    let sessions = Sessions {
        mesh: mesh.clone(),
        name: "node-1".into(),
        supervisors: vec![supervisor.address.clone()],
        last: last.clone(),
        state: joiner.state.clone(),
        trust: trust.clone(),
        addresses: addresses.subscribe(),
        vtep_mac: joiner.state.vtep_mac().unwrap(),
        readiness: ctx.readiness.clone(),
        open: watch::Sender::new(BTreeSet::new()),
        tunnels: Sessions::tunnel_limit(),
        policy_socket: folder.path().join("netpol.sock"),
        removed: removed.clone(),
    };
    tokio::spawn(sessions.run(ctx.readiness.task(SESSION), ctx.drain.clone()));
    let renewal = Renewal {
        joiner,
        mesh,
        credentials: credentials.clone(),
        trust,
        last: last.clone(),
        addresses: addresses.subscribe(),
        task: ctx.readiness.task("identity"),
        removed,
    };
    tokio::spawn(renewal.run(ctx.drain.clone()));
    let credentials = credentials.subscribe();
    Node {
        last,
        ctx,
        addresses,
        credentials,
        folder,
        _trigger: trigger,
    }
}

pub(crate) fn instruction(instruction: Instruction) -> Result<NodeInstruction, tonic::Status> {
    Ok(NodeInstruction {
        instruction: Some(instruction),
    })
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), work).await;
    waited.unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}

/// The next hello's addresses.
pub(crate) async fn hello(seen: &mut Seen) -> Vec<String> {
    loop {
        let report = within("a hello", seen.reports.recv())
            .await
            .unwrap()
            .report
            .unwrap();
        if let Report::Hello(hello) = report {
            assert_eq!(hello.vtep_mac.len(), 17);
            return hello.addresses;
        }
    }
}

/// Waits until the node says that it waits for this.
pub(crate) async fn told(seen: &mut Seen, waiting_for: &[&str]) {
    loop {
        let report = within("the status", seen.reports.recv()).await.unwrap();
        if matches!(report.report, Some(Report::Status(s)) if s.waiting_for == waiting_for) {
            return;
        }
    }
}

#[tokio::test]
async fn configuration_comes_down_and_reports_go_up() {
    let (supervisor, mut seen) = Supervisor::start().await;
    let node = node(&supervisor).await;
    assert_eq!(hello(&mut seen).await, ["127.0.0.1"]);
    within("readiness", node.ctx.readiness.ready()).await;
    let config = NodeConfig {
        settings: Some(supervisor.settings()),
        pod_cidr: "10.244.7.0/24".into(),
        peers: vec![],
    };
    supervisor
        .instruct
        .send(instruction(Instruction::Config(config.clone())))
        .await
        .unwrap();
    let mut follow = node.last.follow();
    within("the configuration", follow.wait_for(|now| **now == config))
        .await
        .unwrap();

    // A task that waits is told; a moved node says hello again and gets certificates for its new address.
    let task = node.ctx.readiness.task("kubelet");
    task.waiting("for the test");
    told(&mut seen, &["kubelet: for the test"]).await;
    let before = node.credentials.borrow().chain.clone();
    node.addresses
        .send_replace(vec!["127.0.0.9".parse().unwrap()]);
    assert_eq!(hello(&mut seen).await, ["127.0.0.9"]);
    let mut credentials = node.credentials.clone();
    within("a renewal", credentials.wait_for(|now| now.chain != before))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_that_breaks_is_opened_again() {
    let (supervisor, mut seen) = Supervisor::start().await;
    let _node = node(&supervisor).await;
    hello(&mut seen).await;
    supervisor
        .instruct
        .send(Err(tonic::Status::unavailable("restarting")))
        .await
        .unwrap();
    hello(&mut seen).await;
}

/// Regression: a removed node went on with its session's certificate and never looked at the new token.
#[tokio::test]
async fn a_removed_node_joins_anew_once_there_is_a_token() {
    let (supervisor, mut seen) = Supervisor::start().await;
    let node = node(&supervisor).await;
    hello(&mut seen).await;
    let token = node.folder.path().join("token");
    std::fs::write(&token, "").unwrap();
    let removed = tonic::Status::permission_denied("node-1 isn't registered (any more)");
    supervisor.instruct.send(Err(removed)).await.unwrap();
    let waiting = || {
        let waiting = node.ctx.readiness.waiting();
        waiting
            .iter()
            .any(|w| w.name == "identity" && w.reason.contains("was removed from the cluster"))
    };
    within("the node says that it was removed", async {
        while !waiting() {
            node.ctx.readiness.changed().await;
        }
    })
    .await;

    // The session that is open by now is refused as well, and this time there is a token.
    hello(&mut seen).await;
    std::fs::write(&token, supervisor.token()).unwrap();
    let removed = tonic::Status::permission_denied("node-1 isn't registered (any more)");
    supervisor.instruct.send(Err(removed)).await.unwrap();
    within("readiness", node.ctx.readiness.ready()).await;
    assert_eq!(supervisor.counts(), (2, 0, 0));
}

/// A netpol-controller, as far as its telemetry goes.
struct Netpol;

#[tonic::async_trait]
impl Telemetry for Netpol {
    async fn change(
        &self,
        request: tonic::Request<ChangeRequest>,
    ) -> Result<tonic::Response<Settings>, tonic::Status> {
        let log = request.into_inner().log.unwrap_or_default();
        Ok(tonic::Response::new(Settings {
            log_filter: log.filter,
            ..Settings::default()
        }))
    }
}

/// The answer to a change in that process.
async fn changed(supervisor: &Supervisor, seen: &mut Seen, process: &str) -> TelemetryOutcome {
    let wanted = TelemetryInstruction {
        id: 7,
        process: process.into(),
        change: Some(ChangeRequest {
            log: Some(LogChange {
                filter: "debug".into(),
                for_seconds: 0,
            }),
            sampling: None,
        }),
    };
    let wanted = instruction(Instruction::Telemetry(wanted));
    supervisor.instruct.send(wanted).await.unwrap();
    loop {
        let report = within("an answer", seen.reports.recv()).await.unwrap();
        if let Some(Report::Telemetry(outcome)) = report.report {
            assert_eq!(outcome.id, 7);
            return outcome;
        }
    }
}

#[tokio::test]
async fn telemetry_of_the_nodes_processes_is_changed() {
    let (supervisor, mut seen) = Supervisor::start().await;
    let node = node(&supervisor).await;
    hello(&mut seen).await;
    // This program isn't set up as a service.
    let outcome = changed(&supervisor, &mut seen, "node-agent").await;
    assert!(outcome.error.contains("no telemetry"), "{outcome:?}");
    let outcome = changed(&supervisor, &mut seen, "kubelet").await;
    assert!(
        outcome.error.contains("no process `kubelet`"),
        "{outcome:?}"
    );

    let outcome = changed(&supervisor, &mut seen, "netpol-controller").await;
    assert!(outcome.error.contains("netpol.sock"), "{outcome:?}");
    let socket = node.folder.path().join("netpol.sock");
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder()
        .add_service(TelemetryServer::new(Netpol))
        .serve_with_incoming(incoming);
    tokio::spawn(server);
    let outcome = changed(&supervisor, &mut seen, "netpol-controller").await;
    assert_eq!(outcome.settings.unwrap().log_filter, "debug");
}
