//! The three Unix sockets of kube-apiserver: ServiceAccount tokens, KMS and the way to the nodes. What arrives there
//! is passed on over the mesh, whose certificates renew, so that kube-apiserver itself dials nobody.

mod egress;
mod jwt;
mod kms;

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sextant_identity::{Mesh, Peer, ServiceName};
use sextant_kit::{Context, Drain, backoff::Backoff, backoff::retry};
use sextant_proto::{
    externaljwt::external_jwt_signer_server::ExternalJwtSignerServer,
    kms::key_management_service_server::KeyManagementServiceServer,
};
use tokio::{net::UnixListener, time::timeout};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Status, transport::Server};

use crate::{config::Config, error::Error, metrics::RunnerMetrics};

/// The sockets, served.
#[derive(Debug)]
pub(crate) struct Sockets {
    signer: jwt::Signer,
    kms: kms::Kms,
}

impl Sockets {
    /// Listens and serves until `drain`, which comes after the component has ended.
    pub(crate) fn serve(
        config: &Config,
        mesh: &Mesh,
        metrics: &RunnerMetrics,
        drain: &Drain,
    ) -> Result<Self, Error> {
        let folder = &config.run_folder;
        let to = |address: &str, service| mesh.spread_channel(address, Peer::Service(service));
        let signer = to(&config.token_service, ServiceName::TokenService);
        let signer = jwt::Signer::new(signer, &config.state_folder);
        let kms = to(&config.enroll.cert_authority, ServiceName::CertAuthority);
        let kms = kms::Kms::new(kms);
        let egress = to(&config.supervisor, ServiceName::Supervisor);

        let service = ExternalJwtSignerServer::new(signer.clone());
        let server = Server::builder().add_service(service);
        let incoming = UnixListenerStream::new(listen(&folder.join("jwt.sock"))?);
        let end = drain.clone();
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
            end.signaled().await;
        }));

        let service = KeyManagementServiceServer::new(kms.clone());
        let server = Server::builder().add_service(service);
        let incoming = UnixListenerStream::new(listen(&folder.join("kms.sock"))?);
        let end = drain.clone();
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
            end.signaled().await;
        }));

        let listener = listen(&folder.join("egress.sock"))?;
        drain.spawn(egress::serve(listener, egress, metrics.egress_open.clone()));
        Ok(Self { signer, kms })
    }

    /// Waits until kube-apiserver would be answered: it ends when the signer isn't there at its start. After
    /// `patience` the public keys kept from an earlier time do.
    pub(crate) async fn answering(&self, patience: Duration, ctx: &Context) {
        let task = ctx.readiness.task("token-service");
        let live = retry(
            "FetchKeys at token-service",
            &task,
            Backoff::default(),
            &ctx.drain,
            || self.signer.fetch_live(),
        );
        if timeout(patience, live).await.is_err() {
            tracing::warn!("token-service is away: looking for the public keys kept last");
            let known = || async { self.signer.known().await.map(drop) };
            retry(
                "FetchKeys at token-service",
                &task,
                Backoff::default(),
                &ctx.drain,
                known,
            )
            .await;
        }
        task.ready();
        let task = ctx.readiness.task("KMS");
        let status = || self.kms.working();
        retry(
            "KMS Status at cert-authority",
            &task,
            Backoff::default(),
            &ctx.drain,
            status,
        )
        .await;
        task.ready();
    }
}

/// A socket that only this user can connect to, in the place of one that an earlier run left behind.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Error> {
    let bind = || -> io::Result<UnixListener> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().map_err(Error::file("listening on", PathBuf::from(path)))
}

/// A call with a deadline of its own; `whom` is named when it passes.
async fn within<T>(
    deadline: Duration,
    whom: &str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("{whom} gave no answer within {deadline:?}"));
    timeout(deadline, call).await.map_err(late)?
}
