//! What goes on beside serving: following the API's nodes on every replica, and the leader's work on one.

use super::Bound;
use super::shared::Shared;
use crate::domain::fleet::KubeNodes;
use crate::kube::{
    bootstrap, keep_addons, keep_endpoints, register_pod_networks, rotating, watch_nodes,
};
use crate::leader;
use crate::token_files::TokenFiles;
use sextant_identity::Leaf;
use sextant_proto::certauthority::Profile;
use std::sync::Arc;
use tokio::sync::watch;

type Api = watch::Receiver<Option<kube::Client>>;

/// Starts both.
pub(super) fn start(bound: &Bound, shared: &Shared, nodes: watch::Sender<Arc<KubeNodes>>) {
    let (publish, api) = watch::channel(None);
    follow_api(bound, shared, nodes, publish);
    lead(bound, shared, api);
}

/// Obtains the certificate for kube-apiserver and follows its nodes.
fn follow_api(
    bound: &Bound,
    shared: &Shared,
    nodes: watch::Sender<Arc<KubeNodes>>,
    publish: watch::Sender<Option<kube::Client>>,
) {
    let (mesh, ctx, cluster) = (
        bound.mesh.clone(),
        bound.ctx.clone(),
        shared.cluster.clone(),
    );
    bound.ctx.drain.spawn(async move {
        // It only ever fails because the process is stopping.
        let Ok(leaf) = Leaf::obtain(&mesh, Profile::SupervisorClient, &ctx).await else {
            return;
        };
        match rotating(&cluster, &leaf, mesh.trust(), &ctx.drain) {
            Ok(client) => {
                publish.send_replace(Some(client.clone()));
                watch_nodes(client, nodes).await;
            }
            Err(error) => tracing::error!(%error, "no client for kube-apiserver"),
        }
    });
}

fn lead(bound: &Bound, shared: &Shared, api: Api) {
    let (mesh, store, drain) = (
        bound.mesh.clone(),
        bound.store.clone(),
        bound.ctx.drain.clone(),
    );
    let files = TokenFiles::new(
        bound.config.nodes_folder.clone(),
        shared.cluster.nodes.clone(),
        shared.tokens.clone(),
    );
    let own = shared.clone();
    let shared = shared.clone();
    let work = move || {
        let (files, shared, mesh, store) =
            (files.clone(), shared.clone(), mesh.clone(), store.clone());
        let mut api = api.clone();
        async move {
            let cluster = async {
                bootstrap(&shared.cluster, &mesh, &shared.issuer, &store).await;
                let Ok(client) = api.wait_for(Option::is_some).await.map(|c| c.clone()) else {
                    return;
                };
                let Some(client) = client else { return };
                futures::join!(
                    keep_addons(client.clone(), &shared.cluster, store.clone()),
                    keep_endpoints(client, &shared.cluster),
                    register_pod_networks(shared.fleet.clone(), store.clone()),
                );
            };
            futures::join!(files.run(shared.state.clone()), cluster);
        }
    };
    let task = leader::run(own.queues, own.lease, own.replica, drain.clone(), work);
    drain.spawn(task);
}
