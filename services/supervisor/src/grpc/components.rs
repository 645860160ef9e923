//! `Components`: what each runner's component is told, and whose turn it is to restart.

use super::versions;
use crate::config::Part;
use crate::domain::cluster::ClusterConfig;
use crate::domain::components::{Component, component_config};
use crate::domain::queue::Place;
use crate::domain::skew::waits_for;
use crate::store::tickets::{Queues, Standing};
use sextant_identity::{Identity, peer};
use sextant_kit::Drain;
use sextant_proto::supervisor::{
    ComponentConfig, RestartPermit, RestartPermitRequest, WatchComponentRequest,
    components_server::Components,
};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub struct ComponentsService {
    cluster: watch::Receiver<Arc<ClusterConfig>>,
    api_server: Option<Part>,
    queues: Queues,
    lease: watch::Receiver<Option<i64>>,
    drain: Drain,
}

const LONGEST_VERSION: usize = 64;

type Answers<T> = ReceiverStream<Result<T, Status>>;

impl ComponentsService {
    /// Over the wanted cluster and the queues of the datastore. The versions of `api_server` are asked for.
    pub fn new(
        cluster: watch::Receiver<Arc<ClusterConfig>>,
        api_server: Option<Part>,
        queues: Queues,
        lease: watch::Receiver<Option<i64>>,
        drain: Drain,
    ) -> Self {
        Self {
            cluster,
            api_server,
            queues,
            lease,
            drain,
        }
    }

    /// Whether a component of this version may run beside the API servers that there are.
    async fn allow(&self, component: Component, version: &str) -> Result<(), Status> {
        let Some(api_server) = &self.api_server else {
            return Ok(());
        };
        if component == Component::ApiServer || version.is_empty() {
            return Ok(());
        }
        match waits_for(version, &versions::of(api_server).await) {
            None => Ok(()),
            Some(reason) => {
                tracing::info!(component = component.name(), reason, "not started yet");
                Err(Status::failed_precondition(reason))
            }
        }
    }
}

#[tonic::async_trait]
impl Components for ComponentsService {
    type WatchStream = Answers<ComponentConfig>;
    type RestartPermitStream = Answers<RestartPermit>;

    async fn watch(
        &self,
        request: Request<WatchComponentRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let component = caller(&request)?;
        let version = request.into_inner().version;
        if version.len() > LONGEST_VERSION {
            return Err(Status::invalid_argument("`version` is too long"));
        }
        self.allow(component, &version).await?;
        let (answers, stream) = mpsc::channel(1);
        let cluster = self.cluster.clone();
        let following = follow(component, version, cluster, answers);
        self.drain.spawn(following);
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn restart_permit(
        &self,
        request: Request<RestartPermitRequest>,
    ) -> Result<Response<Self::RestartPermitStream>, Status> {
        let component = caller(&request)?;
        let replica = printable(&request.get_ref().replica)?;
        let mut lease = self.lease.clone();
        let under = *lease.borrow_and_update();
        let queue = format!("restart-{}", component.name());
        let standing = self.queues.enter(&queue, replica).await?;
        let (answers, stream) = mpsc::channel(1);
        self.drain.spawn(async move {
            let lost = async {
                let _ = lease.wait_for(|now| *now != under).await;
            };
            tokio::select! {
                () = answers.closed() => {}
                () = serve(standing, &answers) => {}
                () = lost => {}
            }
            let gone = Status::unavailable("the place in the queue is lost: ask again");
            let _ = answers.try_send(Err(gone));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn caller<T>(request: &Request<T>) -> Result<Component, Status> {
    let component = match peer::identity(request.extensions()) {
        Some(Identity::Service(service)) => Component::from_name(service.as_str()),
        _ => None,
    };
    component.ok_or_else(|| {
        Status::permission_denied("only the runner of a Kubernetes component may call this")
    })
}

fn printable(replica: &str) -> Result<&str, Status> {
    let fine = !replica.is_empty()
        && replica.len() <= 253
        && replica
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if fine {
        return Ok(replica);
    }
    Err(Status::invalid_argument("`replica` must be a host name"))
}

/// Sends the configuration now and whenever it is another.
async fn follow(
    component: Component,
    version: String,
    mut cluster: watch::Receiver<Arc<ClusterConfig>>,
    answers: mpsc::Sender<Result<ComponentConfig, Status>>,
) {
    let mut digest = String::new();
    loop {
        let config = ComponentConfig {
            version: version.clone(),
            ..component_config(&cluster.borrow_and_update(), component)
        };
        if config.digest != digest {
            digest.clone_from(&config.digest);
            if answers.send(Ok(config)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = answers.closed() => return,
            // Nobody is left who could change it: what was said stays true.
            changed = cluster.changed() => if changed.is_err() {
                answers.closed().await;
                return;
            },
        }
    }
}

/// Tells each change of the place until it is gone.
async fn serve(mut standing: Standing, answers: &mpsc::Sender<Result<RestartPermit, Status>>) {
    let mut place = None;
    loop {
        let now = standing.next(place.as_ref()).await;
        let permit = match &now {
            Place::Gone => return,
            Place::Head => RestartPermit {
                granted: true,
                waiting_for: String::new(),
            },
            Place::Waiting(holder) => RestartPermit {
                granted: false,
                waiting_for: holder.clone(),
            },
        };
        if answers.send(Ok(permit)).await.is_err() {
            return;
        }
        place = Some(now);
    }
}
