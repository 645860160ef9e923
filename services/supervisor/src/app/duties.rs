//! What goes on beside serving: following the API's nodes on every replica, and the leader's work on one.

use super::Parts;
use super::shared::{Publishers, Shared};
use crate::kube::{
    Addons, bootstrap, keep_endpoints, register_pod_networks, rotating, watch_nodes,
};
use crate::leader;
use crate::metrics::ReplicaMetrics;
use crate::store::Datastore;
use crate::token_files::TokenFiles;
use futures::FutureExt;
use sextant_identity::{Leaf, Mesh};
use sextant_proto::certauthority::Profile;
use tokio::sync::watch;

type Api = watch::Receiver<Option<kube::Client>>;

/// Starts both.
pub(super) fn start(parts: &Parts, shared: &Shared, publishers: Publishers) {
    follow_api(parts, shared, publishers);
    lead(parts, shared, shared.api.clone());
}

/// Obtains the certificate for kube-apiserver and follows its nodes.
fn follow_api(parts: &Parts, shared: &Shared, publishers: Publishers) {
    let (mesh, ctx, cluster) = (
        parts.mesh.clone(),
        parts.ctx.clone(),
        shared.cluster.clone(),
    );
    parts.ctx.drain.spawn(async move {
        // It only ever fails because the process is stopping.
        let Ok(leaf) = Leaf::obtain(&mesh, Profile::SupervisorClient, &ctx).await else {
            return;
        };
        match rotating(&cluster, &leaf, mesh.trust(), &ctx.drain) {
            Ok(client) => {
                publishers.api.send_replace(Some(client.clone()));
                watch_nodes(client, publishers.kube_nodes).await;
            }
            Err(error) => tracing::error!(%error, "no client for kube-apiserver"),
        }
    });
}

fn lead(parts: &Parts, shared: &Shared, api: Api) {
    let files = TokenFiles::new(
        parts.config.nodes_folder.clone(),
        shared.cluster.nodes.clone(),
        shared.tokens.clone(),
    );
    let led = Led {
        files,
        shared: shared.clone(),
        mesh: parts.mesh.clone(),
        store: parts.store.clone(),
        api,
    };
    let (queues, lease) = (shared.queues.clone(), shared.lease.clone());
    let work = move || led.clone().work().boxed();
    let drain = parts.ctx.drain.clone();
    let metrics = ReplicaMetrics::new(&parts.ctx.metrics);
    parts
        .ctx
        .drain
        .spawn(metrics.clone().follow(shared.hub.clone()));
    let task = leader::run(queues, lease, shared.replica.clone(), drain, metrics, work);
    parts.ctx.drain.spawn(task.boxed());
}

/// What the leader works with.
#[derive(Clone)]
struct Led {
    files: TokenFiles,
    shared: Shared,
    mesh: Mesh,
    store: Datastore,
    api: Api,
}

impl Led {
    async fn work(self) {
        let files = self.files.clone().run(self.shared.state.clone());
        futures::join!(files.boxed(), self.keep_cluster().boxed());
    }

    async fn keep_cluster(mut self) {
        let (cluster, store) = (&self.shared.cluster, &self.store);
        bootstrap(cluster, &self.mesh, &self.shared.issuer, store).await;
        let Ok(Some(client)) = self
            .api
            .wait_for(Option::is_some)
            .await
            .map(|api| api.clone())
        else {
            return;
        };
        let addons = Addons {
            client: client.clone(),
            cluster,
            issuer: &self.shared.issuer,
            trust: self.mesh.trust(),
            store,
        };
        futures::join!(
            addons.keep().boxed(),
            keep_endpoints(client, cluster).boxed(),
            register_pod_networks(self.shared.fleet.clone(), store.clone()).boxed(),
        );
    }
}
