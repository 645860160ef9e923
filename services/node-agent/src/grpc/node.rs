//! Status, Drain, ImportImages.

use crate::api::ApiClient;
use crate::error::Error;
use crate::runtime::{Children, Images};
use crate::store::State;
use sextant_kit::{Drain, Readiness};
use sextant_proto::node::node_server::{Node, NodeServer};
use sextant_proto::node::{
    ChildStatus, DrainRequest, DrainResponse, ImportImagesRequest, ImportImagesResponse,
    StatusRequest, StatusResponse,
};
use sextant_proto::supervisor::NodeConfig;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Drain's time without one from the caller, and its bounds.
const DRAIN: (i64, i64) = (300, 3600);

/// What the socket tells and does.
#[derive(Clone)]
pub struct NodeService {
    /// The node's name.
    pub name: String,
    /// What it waits for.
    pub readiness: Readiness,
    /// Its addresses.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
    /// Its configuration, once it has joined.
    pub joined: watch::Receiver<Option<Arc<NodeConfig>>>,
    /// Supervisors with an open session.
    pub sessions: watch::Receiver<BTreeSet<String>>,
    /// Its children.
    pub children: Children,
    /// Imports.
    pub images: Arc<Images>,
    /// The state folder.
    pub state: State,
}

/// Serves `service` on a socket that only root can use, until drained.
pub async fn serve(path: &Path, service: NodeService, drain: Drain) -> Result<(), Error> {
    let failed = |source| Error::file("listening on", path, source);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let server = tonic::transport::Server::builder()
        .concurrency_limit_per_connection(16)
        .add_service(NodeServer::new(service))
        .serve_with_incoming(UnixListenerStream::new(listener));
    match drain.run(server).await {
        Some(Err(error)) => Err(failed(std::io::Error::other(error))),
        Some(Ok(())) | None => Ok(()),
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let waiting = self.readiness.waiting().into_iter();
        let child = |(name, status): (String, sextant_runner::child::Status)| ChildStatus {
            name,
            pid: status.pid().unwrap_or_default(),
            restarts: u32::try_from(status.crashes).unwrap_or(u32::MAX),
            running: status.pid().is_some(),
        };
        let config = self.joined.borrow().clone();
        Ok(Response::new(StatusResponse {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            waiting_for: waiting
                .map(|w| format!("{}: {}", w.name, w.reason))
                .collect(),
            addresses: self
                .addresses
                .borrow()
                .iter()
                .map(IpAddr::to_string)
                .collect(),
            pod_cidr: config
                .map(|config| config.pod_cidr.clone())
                .unwrap_or_default(),
            sessions: self.sessions.borrow().iter().cloned().collect(),
            children: self.children.statuses().into_iter().map(child).collect(),
        }))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        let seconds = match request.get_ref().timeout_seconds {
            0 => DRAIN.0,
            seconds if (1..=DRAIN.1).contains(&seconds) => seconds,
            _ => {
                return Err(Status::invalid_argument(
                    "timeout_seconds must be 0 to 3600",
                ));
            }
        };
        let config = self.joined.borrow().clone();
        let settings = config.as_ref().and_then(|config| config.settings.as_ref());
        let address = settings.and_then(|settings| {
            let port = u16::try_from(settings.api_port).ok()?;
            Some(SocketAddr::new(settings.api_address.parse().ok()?, port))
        });
        let Some(address) = address else {
            return Err(Status::failed_precondition(
                "the node hasn't joined a cluster yet",
            ));
        };
        let api = ApiClient::new(address, self.state.clone());
        let limit = Duration::from_secs(seconds.unsigned_abs());
        let evicted = super::drain::drain(&api, &self.name, limit).await?;
        Ok(Response::new(DrainResponse { evicted }))
    }

    async fn import_images(
        &self,
        request: Request<ImportImagesRequest>,
    ) -> Result<Response<ImportImagesResponse>, Status> {
        let images = self
            .images
            .import(Path::new(&request.get_ref().path))
            .await?;
        Ok(Response::new(ImportImagesResponse { images }))
    }
}
