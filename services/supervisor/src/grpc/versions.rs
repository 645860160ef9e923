//! Asks every kube-apiserver for its version, at its runner's admin port.

use crate::admin::replicas;
use crate::config::Part;
use crate::domain::measures::label;
use crate::domain::skew::Replica;
use sextant_kit::http::get;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(3);
/// A runner's own metrics: some tens of kilobytes.
const LONGEST: u64 = 1 << 20;
const METRIC: &str = "sextant_component_info";

/// What each replica tells, by its address.
pub(super) async fn of(api_server: &Part) -> Vec<(String, Replica)> {
    let found = replicas(std::slice::from_ref(api_server)).await;
    let asked = found.iter().map(|replica| async {
        match replica.address() {
            Ok(address) => (address.ip().to_string(), ask(address).await),
            // A name without addresses is a part without replicas.
            Err(_) => (api_server.admin.clone(), Replica::Away),
        }
    });
    futures::future::join_all(asked).await
}

async fn ask(address: SocketAddr) -> Replica {
    match get(address, "/metrics", LONGEST, DEADLINE).await {
        Ok(answer) => match label(&answer.body, METRIC, "version") {
            Some(version) => Replica::Told(version),
            None => Replica::Silent("its runner hasn't asked it yet".to_owned()),
        },
        // Runner and kube-apiserver share a container: without the one there is no other.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Replica::Away,
        Err(error) => Replica::Silent(error.to_string()),
    }
}
