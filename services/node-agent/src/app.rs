//! Build → bound → run.

use crate::config::{Checked, Config};
use crate::error::Error;
use crate::grpc::{self, NodeService};
use crate::join::{Joined, Joiner, Renewal, Token};
use crate::metrics::NodeMetrics;
use crate::network::{Network, follow_addresses, own_address};
use crate::runtime::{Children, Images, Runtime};
use crate::session::Sessions;
use crate::store::{Last, State};
use crate::{init, neighbours, status, telemetry};
use sextant_identity::{Identity, Mesh};
use sextant_kit::backoff::{Backoff, retry};
use sextant_kit::cli::Command;
use sextant_kit::config::Sources;
use sextant_kit::{Context, Service, Task};
use sextant_proto::supervisor::NodeConfig;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tracing::{Instrument, Span};

/// Readiness task of the sessions.
pub const SESSION: &str = "session";
/// Longest join token.
const MAX_TOKEN: u64 = 4096;

/// The agent.
pub struct App;

impl Service for App {
    const NAME: &'static str = "node-agent";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        let checked = config.check()?;
        Ok(Agent::build(config, checked, ctx)?.run().await?)
    }

    fn commands() -> Vec<Command> {
        vec![
            Command {
                clap: clap::Command::new("init").about(
                    "Runs as the node container's first process and keeps the agent running",
                ),
                run: |_, sources| start_init(sources),
            },
            Command {
                clap: clap::Command::new("status").about("Shows the state of the running agent"),
                run: |_, sources| status::main(sources),
            },
        ]
    }
}

/// What is there before the node has joined.
struct Agent {
    config: Arc<Config>,
    checked: Checked,
    ctx: Context,
    state: State,
    token: Token,
    addresses: watch::Sender<Vec<IpAddr>>,
    joined: watch::Sender<Option<Arc<NodeConfig>>>,
    open: watch::Sender<BTreeSet<String>>,
    children: Children,
    images: Arc<Images>,
    metrics: NodeMetrics,
}

impl Agent {
    fn build(config: Config, checked: Checked, ctx: Context) -> Result<Self, Error> {
        for folder in [
            config.run_dir.clone(),
            config.children(),
            config.cni_conf_dir(),
        ] {
            std::fs::create_dir_all(&folder).map_err(|e| Error::file("making", folder, e))?;
        }
        let token = token(&config.token_file)?;
        let state = State::new(&config.state_dir);
        let addresses = watch::Sender::new(Vec::new());
        neighbours::offer(&ctx.metrics, &checked.name, &state, addresses.subscribe());
        Ok(Self {
            state,
            images: Arc::new(Images::new(&config)),
            metrics: NodeMetrics::register(&ctx.metrics),
            config: Arc::new(config),
            checked,
            ctx,
            token,
            addresses,
            joined: watch::Sender::new(None),
            open: watch::Sender::new(BTreeSet::new()),
            children: Children::default(),
        })
    }

    async fn run(self) -> Result<(), Error> {
        let drain = self.ctx.drain.clone();
        let session = self.ctx.readiness.task(SESSION);
        let identity = self.ctx.readiness.task("identity");
        let network = self.ctx.readiness.task("pod network");
        let api = self.ctx.readiness.task("api");
        network.waiting("the node hasn't joined yet");
        session.waiting("the node hasn't joined yet");
        api.waiting("the node hasn't joined yet");
        self.ctx.readiness.started();
        let socket = self.config.socket();
        let serving = tokio::spawn({
            let (service, drain) = (self.node_service(), drain.clone());
            async move { grpc::serve(&socket, service, drain).await }
        });
        // One trace from here until the node is ready for the first time.
        let start = tracing::info_span!("node_start", node = %self.checked.name);
        let traced = telemetry::offer(&self.config, &self.ctx);
        // containerd and the images needn't wait for the join.
        let runtime = self.runtime(start.clone(), traced);
        let runtime = tokio::spawn(runtime.run(self.ctx.readiness.clone(), drain.clone()));
        let joining = tracing::info_span!(parent: &start, "join");
        let Some(joined) = self.join(&identity).instrument(joining).await else {
            return Ok(());
        };
        let readiness = self.ctx.readiness.clone();
        let ready = tracing::info_span!(parent: &start, "node_ready");
        drain.spawn(async move {
            readiness.ready().instrument(ready).await;
            drop(start);
        });
        self.run_joined(joined, [session, identity, network, api])
            .await?;
        drain.signaled().await;
        // A failed socket is no reason to leave the node; what the kernel holds stays as it is.
        if let Ok(Err(error)) = serving.await {
            tracing::warn!(%error, "the node's socket");
        }
        let _ = runtime.await;
        Ok(())
    }

    /// Waits for an address and for membership; `None` when drained first.
    async fn join(&self, task: &Task) -> Option<Joined> {
        let drain = &self.ctx.drain;
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let found = retry(
            "finding the node's address",
            task,
            backoff.clone(),
            drain,
            || async {
                match self.config.node_ip {
                    Some(address) => Ok(address),
                    None => own_address(&self.config.supervisors).await,
                }
            },
        );
        let addresses = [found.await?];
        self.addresses.send_replace(addresses.to_vec());
        let joiner = self.joiner();
        let joined = retry("joining", task, backoff, drain, || {
            joiner.attempt(&addresses)
        })
        .await?;
        task.ready();
        Some(joined)
    }

    async fn run_joined(&self, joined: Joined, tasks: [Task; 4]) -> Result<(), Error> {
        let [session, identity, network, api] = tasks;
        let drain = &self.ctx.drain;
        let (name, config) = (self.checked.name.clone(), self.config.clone());
        let last = Last::new(&self.state, joined.config)?;
        let credentials = watch::Sender::new(Arc::new(joined.credentials));
        let trust = watch::Sender::new(Arc::new(joined.trust));
        let mesh = Mesh::from_parts(
            Identity::Node(name.clone()),
            credentials.subscribe(),
            trust.subscribe(),
        );
        mesh.secure_telemetry();
        let vtep_mac = self.state.vtep_mac()?;
        let removed = Arc::new(Notify::new());
        drain.spawn(follow_addresses(
            config.node_ip,
            config.supervisors.clone(),
            self.addresses.clone(),
            drain.clone(),
        ));
        let sessions = Sessions {
            mesh: mesh.clone(),
            name: name.to_string(),
            supervisors: config.supervisors.clone(),
            last: last.clone(),
            state: self.state.clone(),
            trust: trust.clone(),
            addresses: self.addresses.subscribe(),
            vtep_mac,
            readiness: self.ctx.readiness.clone(),
            open: self.open.clone(),
            tunnels: Sessions::tunnel_limit(),
            policy_socket: config.policy_socket.clone(),
            removed: removed.clone(),
        };
        tokio::spawn(sessions.run(session, drain.clone()));
        let expires = credentials.subscribe();
        let renewal = Renewal {
            joiner: self.joiner(),
            mesh,
            credentials,
            trust,
            last: last.clone(),
            addresses: self.addresses.subscribe(),
            task: identity,
            removed,
        };
        tokio::spawn(renewal.run(drain.clone()));
        drain.spawn(publish(last.clone(), self.joined.clone()));
        drain.spawn(measure(
            self.metrics.clone(),
            last.clone(),
            self.open.subscribe(),
            expires,
            self.children.clone(),
        ));
        if config.manage_network {
            let reconciler = Network::new(config, vtep_mac)?;
            let addresses = self.addresses.subscribe();
            tokio::spawn(reconciler.run(last.clone(), addresses, network, drain.clone()));
        } else {
            network.ready();
        }
        drain.spawn(crate::api::offer(last, api, drain.clone()));
        Ok(())
    }

    fn joiner(&self) -> Joiner {
        Joiner {
            name: self.checked.name.clone(),
            supervisors: self.config.supervisors.clone(),
            token: self.token.clone(),
            state: self.state.clone(),
        }
    }

    fn runtime(&self, start: Span, traced: bool) -> Runtime {
        Runtime {
            start,
            traced,
            config: self.config.clone(),
            checked: self.checked.clone(),
            state: self.state.clone(),
            images: self.images.clone(),
            children: self.children.clone(),
            joined: self.joined.subscribe(),
            addresses: self.addresses.subscribe(),
        }
    }

    fn node_service(&self) -> NodeService {
        NodeService {
            name: self.checked.name.to_string(),
            readiness: self.ctx.readiness.clone(),
            addresses: self.addresses.subscribe(),
            joined: self.joined.subscribe(),
            sessions: self.open.subscribe(),
            children: self.children.clone(),
            images: self.images.clone(),
            state: self.state.clone(),
        }
    }
}

/// A wrong configuration ends the container: restarting the agent wouldn't help.
fn start_init(sources: &Sources) -> ExitCode {
    let config = sources.load::<Config>().map_err(anyhow::Error::from);
    if let Err(error) = config.and_then(|config| Ok(config.check()?)) {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "init");
    init::main(arguments.collect())
}

fn token(path: &Path) -> Result<Token, Error> {
    if path != Path::new("-") {
        return Ok(Token::File(path.to_owned()));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text);
    read.map_err(|e| Error::file("reading", PathBuf::from("standard input"), e))?;
    Ok(Token::Given(zeroize::Zeroizing::new(
        text.trim().to_owned(),
    )))
}

/// Shows the configuration to those who started before the join.
async fn publish(last: Last, joined: watch::Sender<Option<Arc<NodeConfig>>>) {
    let mut follow = last.follow();
    loop {
        let config = follow.borrow_and_update().clone();
        joined.send_replace(Some(config));
        if follow.changed().await.is_err() {
            return;
        }
    }
}

async fn measure(
    metrics: NodeMetrics,
    last: Last,
    open: watch::Receiver<BTreeSet<String>>,
    credentials: watch::Receiver<Arc<sextant_identity::Credentials>>,
    children: Children,
) {
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    loop {
        metrics.sessions.set(count(open.borrow().len()));
        metrics.peers.set(count(last.follow().borrow().peers.len()));
        let expires = credentials.borrow().not_after.duration_since(UNIX_EPOCH);
        metrics
            .certificate_expires
            .set(expires.unwrap_or_default().as_secs_f64());
        let crashes: u64 = children
            .statuses()
            .iter()
            .map(|(_, status)| status.crashes)
            .sum();
        metrics
            .child_crashes
            .set(i64::try_from(crashes).unwrap_or(i64::MAX));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
