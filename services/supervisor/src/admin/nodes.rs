//! Nodes as an operator sees them.

use crate::domain::fleet::KubeNodes;
use crate::session::Live;
use crate::store::mirror::State;
use sextant_proto::supervisor::NodeInfo;
use std::collections::BTreeMap;

/// Registry, sessions of all supervisors, and the API, put together.
pub(super) fn nodes(
    state: &State,
    live: &BTreeMap<String, Live>,
    kube: &KubeNodes,
    own_address: &str,
) -> Vec<NodeInfo> {
    let info = |name: &String| {
        let record = state.node(name).cloned().unwrap_or_default();
        let own = live.get(name);
        let elsewhere = state
            .sessions
            .get(name)
            .and_then(|sessions| sessions.values().next());
        let api = kube.get(name);
        NodeInfo {
            name: name.clone(),
            session: own.is_some() || elsewhere.is_some(),
            supervisor: match (own, elsewhere) {
                (Some(_), _) => own_address.to_owned(),
                (None, Some(session)) => session.address.clone(),
                (None, None) => String::new(),
            },
            addresses: record.addresses,
            pod_cidr: api
                .map(|node| node.pod_cidr.clone())
                .filter(|cidr| !cidr.is_empty())
                .unwrap_or(record.pod_cidr),
            agent_version: record.agent_version,
            joined_unix: record.joined_unix,
            waiting_for: own.map(|live| live.waiting_for.clone()).unwrap_or_default(),
            ready: api.is_some_and(|node| node.ready),
        }
    };
    state.nodes.keys().map(info).collect()
}
