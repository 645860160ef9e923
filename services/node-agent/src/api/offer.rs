//! Holding balancer and resolver at the API's address.

use super::{Balancer, Forwarder};
use crate::error::Error;
use crate::runtime::resolver;
use crate::store::Last;
use sextant_kit::backoff::{Backoff, retry};
use sextant_kit::{Drain, Task};
use sextant_proto::supervisor::NodeSettings;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::watch;

/// Offers the API and, where pods need it, a resolver on the API's address; anew when the address changes.
pub async fn offer(last: Last, task: Task, drain: Drain) {
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
            () = offer_at(&last, &settings, &task, &drain) => return,
            _ = moved => {}
        }
    }
}

async fn offer_at(last: &Last, settings: &NodeSettings, task: &Task, drain: &Drain) {
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
        .map_err(|e| match e {
            sextant_kit::Error::Bind { address, source }
                if source.kind() == std::io::ErrorKind::AddrNotAvailable =>
            {
                Error::network(format!("{address}"), "no interface holds this address yet")
            }
            error => Error::network("listening", error),
        })?;
    let plan = resolver(settings)?;
    if plan.forward_to.is_empty() {
        return Ok((listener, None));
    }
    let servers = Forwarder::at_dns_port(&plan.forward_to);
    let forwarder = Forwarder::bind(SocketAddr::new(address, 53), servers).await?;
    Ok((listener, Some(forwarder)))
}
