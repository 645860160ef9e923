//! Putting the parts together: build, bind, run.

use crate::config::Config;
use crate::enforce::Enforcer;
use crate::error::{Error, Result};
use crate::grpc::listener;
use crate::grpc::service::Service as Socket;
use crate::metrics::Metrics;
use crate::nft::denied::Denied;
use crate::nft::kernel::Kernel;
use crate::nft::monitor::Monitor;
use crate::watch::feed;
use crate::watch::retire::Retirement;
use kube::Client;
use sextant_kit::cli::Command;
use sextant_kit::telemetry::{self, rpc};
use sextant_kit::{Context, Service};
use sextant_proto::netpol::network_policy_server::NetworkPolicyServer;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;

/// Changes that may wait; the API's watch is slowed down beyond.
const QUEUE: usize = 4096;

/// The service.
pub struct App;

impl Service for App {
    const NAME: &'static str = "netpol-controller";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        // The token file is re-read by the client; a missing one won't come by waiting.
        let kube = kube::Config::incluster().map_err(Error::from)?;
        let client = Client::try_from(kube).map_err(Error::from)?;
        Ok(Bound::bind(config, ctx, client)?.run().await?)
    }

    fn commands() -> Vec<Command> {
        vec![Command {
            clap: clap::Command::new("cleanup")
                .about("Removes the table from the kernel: no policy is enforced any more"),
            run: |_, _| cleanup(),
        }]
    }
}

/// A controller whose socket is bound.
pub struct Bound {
    config: Config,
    ctx: Context,
    client: Client,
    metrics: Metrics,
    enforcer: Enforcer,
    monitor: Monitor,
    listener: UnixListener,
}

impl Bound {
    /// Opens the kernel and binds the socket; needs a runtime. A table of an earlier run stays in force as it is.
    pub fn bind(config: Config, ctx: Context, client: Client) -> Result<Self> {
        let metrics = Metrics::register(&ctx.metrics, Denied::open()?);
        let kernel = Kernel::open()?;
        let monitor = Monitor::open(kernel.port())?;
        let enforcer = Enforcer::new(
            &config.node()?,
            config.established,
            kernel,
            metrics.clone(),
            ctx.readiness.task("table"),
        );
        let listener = listener::bind(&config.socket)?;
        Ok(Self {
            config,
            ctx,
            client,
            metrics,
            enforcer,
            monitor,
            listener,
        })
    }

    /// Runs until drained.
    pub async fn run(self) -> Result<()> {
        let Self {
            config,
            ctx,
            client,
            metrics,
            enforcer,
            monitor,
            listener,
        } = self;
        let (commands, queue) = mpsc::channel(QUEUE);
        feed::start(&client, &ctx, &metrics, &commands);
        ctx.readiness.started();
        let retirement = Retirement::new(&client, &config);
        ctx.drain.spawn(retirement.clone().watch());

        let socket = Socket {
            commands,
            patience: Duration::from_secs(config.ensure_seconds),
        };
        let routes = Routes::new(NetworkPolicyServer::new(socket))
            .add_service(telemetry::server())
            .into_axum_router();
        let routes = Routes::from(routes.layer(axum::middleware::from_fn(rpc::observe)));
        let drain = ctx.drain.clone();
        let server = tonic::transport::Server::builder()
            .add_routes(routes)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
                drain.signaled().await;
            });
        let resync = Duration::from_secs(config.resync_seconds.max(1));
        let enforcing = tokio::spawn(enforcer.run(queue, monitor, resync, ctx.drain.clone()));
        server.await?;
        enforcing.await?;
        if retirement.is_due().await {
            tracing::info!(
                "the DaemonSet is gone: network policy is turned off, removing the table"
            );
            tokio::task::spawn_blocking(crate::cleanup).await??;
            // Without the socket, the CNI plugin knows that there is nothing to wait for.
            if let Err(error) = std::fs::remove_file(&config.socket) {
                tracing::warn!(%error, socket = %config.socket.display(), "the socket stays");
            }
        }
        Ok(())
    }
}

fn cleanup() -> ExitCode {
    match crate::cleanup() {
        Ok(true) => println!("The table is removed; no network policy is enforced on this node."),
        Ok(false) => println!("There is no table; nothing to do."),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
