//! A process that calls itself once over the mesh, for the test of what is exported.

use sextant_identity::{ClientAuth, Peer, ServiceName, serve_grpc};
use sextant_kit::Context;
use sextant_kit::cli::serve_with;
use sextant_kit::config::Common;
use sextant_proto::certauthority::seal_client::SealClient;
use sextant_proto::certauthority::seal_server::{Seal, SealServer};
use sextant_proto::certauthority::{SealRequest, SealResponse, UnsealRequest, UnsealResponse};
use sextant_testkit::Root;
use std::process::ExitCode;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

struct Echo;

#[tonic::async_trait]
impl Seal for Echo {
    async fn seal(&self, _: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        tracing::info!("in the handler");
        Ok(Response::new(SealResponse::default()))
    }

    async fn unseal(&self, _: Request<UnsealRequest>) -> Result<Response<UnsealResponse>, Status> {
        Err(Status::not_found("nothing is sealed here"))
    }
}

async fn call(ctx: Context) -> anyhow::Result<()> {
    let root = Root::new();
    let listener = sextant_kit::net::bind(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr()?.to_string();
    let tls = root
        .mesh(ServiceName::CertAuthority)
        .server_tls(ClientAuth::Required);
    tokio::spawn(serve_grpc(
        listener,
        tls,
        Routes::new(SealServer::new(Echo)),
        ctx.drain,
    ));
    let channel = root
        .mesh(ServiceName::Supervisor)
        .channel(&address, Peer::Any);
    SealClient::new(channel)
        .seal(SealRequest::default())
        .await?;
    print!("{}", ctx.metrics.encode()?);
    Ok(())
}

fn main() -> ExitCode {
    let common = Common {
        admin_listen: ([127, 0, 0, 1], 0).into(),
        ..Common::default()
    };
    serve_with("traced", common, |_, ctx| call(ctx))
}
