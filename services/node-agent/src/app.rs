//! Build → bound → run.

use crate::api::{Balancer, Forwarder};
use crate::config::{Checked, Config};
use crate::error::Error;
use crate::grpc::{self, NodeService};
use crate::join::{Joined, Joiner, Renewal, Token};
use crate::metrics::NodeMetrics;
use crate::network::{Network, follow_addresses, own_address};
use crate::runtime::{Children, Images, Runtime, resolver};
use crate::session::Sessions;
use crate::store::{Last, State};
use crate::{init, status};
use sextant_identity::{Identity, Mesh};
use sextant_kit::backoff::{Backoff, retry};
use sextant_kit::cli::Command;
use sextant_kit::{Context, Drain, Service, Task};
use sextant_proto::supervisor::{NodeConfig, NodeSettings};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::watch;
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
                run: |_, _| {
                    let arguments = std::env::args()
                        .skip(1)
                        .filter(|argument| argument != "init");
                    init::main(arguments.collect())
                },
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
        Ok(Self {
            state: State::new(&config.state_dir),
            images: Arc::new(Images::new(&config)),
            metrics: NodeMetrics::register(&ctx.metrics),
            config: Arc::new(config),
            checked,
            ctx,
            token,
            addresses: watch::Sender::new(Vec::new()),
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
        let socket = self.config.socket();
        let serving = tokio::spawn({
            let (service, drain) = (self.node_service(), drain.clone());
            async move { grpc::serve(&socket, service, drain).await }
        });
        // One trace from here until the node is ready for the first time.
        let start = tracing::info_span!("node_start", node = %self.checked.name);
        // containerd and the images needn't wait for the join.
        let runtime = self.runtime(start.clone());
        let runtime = tokio::spawn(runtime.run(self.ctx.readiness.clone(), drain.clone()));
        let joining = tracing::info_span!(parent: &start, "join");
        let Some(joined) = self.join(&identity).instrument(joining).await else {
            return Ok(());
        };
        let readiness = self.ctx.readiness.clone();
        drain.spawn(async move {
            readiness.ready().await;
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
        let vtep_mac = self.state.vtep_mac()?;
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
        drain.spawn(serve_api(last, api, drain.clone()));
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

    fn runtime(&self, start: Span) -> Runtime {
        Runtime {
            start,
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

/// Offers the API and, where pods need it, a resolver on the API's address; anew when the address changes.
async fn serve_api(last: Last, task: Task, drain: Drain) {
    let mut follow = last.follow();
    loop {
        let settings = follow
            .borrow_and_update()
            .settings
            .clone()
            .unwrap_or_default();
        let place = (settings.api_address.clone(), settings.api_port);
        let moved = follow.wait_for(|config| {
            let settings = config.settings.clone().unwrap_or_default();
            (settings.api_address, settings.api_port) != place
        });
        tokio::select! {
            () = offer(&last, &settings, &task, &drain) => return,
            _ = moved => {}
        }
    }
}

async fn offer(last: &Last, settings: &NodeSettings, task: &Task, drain: &Drain) {
    // The address is put on its interface meanwhile.
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let bound = retry("offering the API", task, backoff, drain, || bind(settings)).await;
    let Some((listener, forwarder)) = bound else {
        return;
    };
    task.ready();
    let servers = watch::Sender::new(settings.api_servers.clone());
    let balancer = Balancer::new(servers.subscribe()).serve(listener, drain.clone());
    let forward = async {
        if let Some(forwarder) = forwarder {
            forwarder.serve(drain.clone()).await;
        }
    };
    let mut follow = last.follow();
    let update = async {
        while follow.changed().await.is_ok() {
            let settings = follow
                .borrow_and_update()
                .settings
                .clone()
                .unwrap_or_default();
            // An empty list is a mistake somewhere; the last one that worked is better.
            if !settings.api_servers.is_empty() {
                servers.send_if_modified(|old| {
                    let new = *old != settings.api_servers;
                    if new {
                        *old = settings.api_servers;
                    }
                    new
                });
            }
        }
    };
    tokio::join!(balancer, forward, update);
}

async fn bind(
    settings: &NodeSettings,
) -> Result<(tokio::net::TcpListener, Option<Forwarder>), Error> {
    let address: IpAddr = settings.api_address.parse().map_err(|_| {
        Error::Config(format!(
            "settings.api_address `{}` is no address",
            settings.api_address
        ))
    })?;
    let port = u16::try_from(settings.api_port)
        .map_err(|_| Error::Config(format!("settings.api_port {}", settings.api_port)))?;
    let listener = sextant_kit::net::bind(SocketAddr::new(address, port))
        .await
        .map_err(|e| Error::network("offering the API", e))?;
    let plan = resolver(settings)?;
    if plan.forward_to.is_empty() {
        return Ok((listener, None));
    }
    let servers = Forwarder::at_dns_port(&plan.forward_to);
    let forwarder = Forwarder::bind(SocketAddr::new(address, 53), servers).await?;
    Ok((listener, Some(forwarder)))
}
