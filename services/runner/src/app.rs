//! The runner as a service.

use std::{process::ExitCode, time::Duration};

use sextant_identity::{ClientAuth, Identity, Mesh, Peer, ServiceName, serve_grpc};
use sextant_kit::{
    Context, Drain, Service,
    cli::{Command, serve_with},
    net, telemetry,
};
use sextant_proto::supervisor::components_client::ComponentsClient;

use tonic::service::Routes;

use crate::{
    child::reap_orphans,
    collector,
    config::Config,
    desired, edge,
    error::Error,
    health::Health,
    kept::Kept,
    metrics::RunnerMetrics,
    pki,
    probe::Probe,
    relay::Relay,
    rollout::{Rollout, Tracing},
    slot::Slot,
    sockets::Sockets,
    version,
};

/// `runner`.
#[derive(Debug)]
pub struct Runner;

impl Service for Runner {
    const NAME: &'static str = "runner";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        match start(config, &ctx).await {
            // Whatever was waited for won't come any more: that is no failure.
            Err(_) if ctx.drain.is_draining() => Ok(()),
            ended => Ok(ended?),
        }
    }

    fn commands() -> Vec<Command> {
        vec![
            Command {
                clap: clap::Command::new("edge")
                    .about("Balances connections in front of the control plane; needs no identity"),
                run: |_, sources| match sources.load() {
                    Ok(config) => serve_with("edge", config, edge::run),
                    Err(error) => wrong(&error),
                },
            },
            Command {
                clap: clap::Command::new("collector")
                    .about("Runs the OpenTelemetry Collector with an identity of the mesh"),
                run: |_, sources| match sources.load() {
                    Ok(config) => serve_with("collector", config, collector::run),
                    Err(error) => wrong(&error),
                },
            },
        ]
    }
}

fn wrong(error: &sextant_kit::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn start(config: Config, ctx: &Context) -> Result<(), Error> {
    if std::process::id() == 1 {
        tokio::spawn(reap_orphans());
    }
    let identity = Identity::from(config.component.service());
    let mesh = Mesh::enroll(&config.enroll, identity, ctx).await?;
    run(config, mesh, ctx).await
}

/// Runs the component of `config` as `mesh` until the drain.
pub async fn run(mut config: Config, mesh: Mesh, ctx: &Context) -> Result<(), Error> {
    let component = config.component;
    let listener = net::bind(config.listen).await?;
    let tls = mesh.server_tls(ClientAuth::Required);
    let routes = Routes::new(telemetry::server());
    let drain = ctx.drain.clone();
    tokio::spawn(async move {
        if let Err(error) = serve_grpc(listener, tls, routes, drain).await {
            tracing::warn!(%error, "telemetry can't be changed any more");
        }
    });
    let version = tokio::spawn(version::of(config.program(), ctx.metrics.clone()));
    let patience = Duration::from_secs(config.patience_seconds);
    let metrics = RunnerMetrics::register(&ctx.metrics);
    let health_task = ctx.readiness.task(component.name());
    health_task.waiting("not started yet");
    pki::mounted_folder(&config.run_folder)?;
    pki::private_folder(&config.files_folder())?;
    let slot = Slot::take(&config.state_folder)?;
    config.state_folder.clone_from(&slot.folder);

    let supervisor = mesh.channel(&config.supervisor, Peer::Service(ServiceName::Supervisor));
    let kept = Kept::new(&config.state_folder, "configuration.pb");
    let asking = (component, version);
    let desired = desired::follow(asking, supervisor.clone(), kept, patience, ctx);

    // The component needs its sockets until it has ended, so they have a drain of their own.
    let (sockets_drain, end_sockets) = Drain::new();
    let sockets = match component.has_sockets() {
        true => Some(Sockets::serve(&config, &mesh, &metrics, &sockets_drain)?),
        false => None,
    };
    let relay = component
        .is_traced()
        .then(|| Relay::start(&ctx.metrics, &sockets_drain));
    let tracing = relay
        .flatten()
        .map(|relay| Tracing::offer(&relay, &config, &sockets_drain))
        .transpose()?;
    let folder = config.run_folder.join("pki");
    let probe = pki::provide(component, &mesh, &folder, ctx).await?;
    if let Some(sockets) = &sockets {
        sockets.answering(patience, ctx).await;
    }
    let health = Health {
        component,
        offered: ctx.metrics.clone(),
        probe: Probe::new(mesh, probe),
        task: health_task,
        metrics,
    };
    let task = ctx.readiness.task("rollout");
    ctx.readiness.started();
    let supervisor = ComponentsClient::new(supervisor);
    let rollout = Rollout {
        config,
        desired,
        supervisor,
        task,
        tracing,
    };
    let ended = rollout.run(health, ctx.drain.clone()).await;
    end_sockets.start();
    end_sockets.finished().await;
    // Only now: until the component has ended, it writes there.
    drop(slot);
    ended
}
