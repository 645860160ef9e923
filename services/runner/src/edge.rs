//! `runner edge`: the balancer in front of the control plane.

use futures::future::join_all;
use sextant_kit::Context;
use tokio::sync::watch;

use crate::{
    balance::{Balancer, BalancerMetrics, Limits},
    config::Config,
};

/// Binds all listeners, then balances until the drain.
pub(crate) async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
    let task = ctx.readiness.task("listeners");
    ctx.readiness.started();
    let metrics = ctx.metrics.register(BalancerMetrics::register);
    let limits = Limits {
        connections: config.edge.max_connections,
        ..Limits::default()
    };
    let mut balancers = Vec::new();
    for listener in config.edge.listeners {
        let (_, upstreams) = watch::channel(vec![listener.upstream.clone()]);
        let balancer = Balancer::bind(listener.listen, upstreams)
            .await?
            .with_limits(limits.clone())
            .with_ready_port(listener.ready_port)
            .with_metrics(metrics.clone());
        let listen = balancer.local_addr()?;
        tracing::info!(%listen, upstream = listener.upstream, "balancing");
        balancers.push(balancer);
    }
    task.ready();
    join_all(
        balancers
            .into_iter()
            .map(|balancer| balancer.run(ctx.drain.clone())),
    )
    .await;
    Ok(())
}
