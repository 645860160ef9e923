//! The authorization table, cell by cell, over real connections.

use crate::node::Node;
use crate::part::Part;
use crate::plane::Plane;
use crate::stranger;
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sextant_identity::authz::TABLE;
use sextant_identity::{Channel, Mesh, Peer, ServiceName};
use std::net::SocketAddr;
use std::time::Duration;
use tower::ServiceExt as _;

/// Refusals come at once. A call that is let in may wait for what its caller never sends.
const ANSWER: Duration = Duration::from_secs(2);
/// One empty gRPC message.
const EMPTY: &[u8] = &[0; 5];
/// Served between replicas on a database server only; this plane has SQLite. The tests `replicas` of datastore-proxy try it.
const BETWEEN_REPLICAS: &str = "/sextant.datastore.v1.Replica/";

pub async fn every_cell_of_the_table() -> Result<()> {
    let plane = Plane::ready().await?;
    let mut callers = vec![("nobody".to_owned(), None)];
    for name in ServiceName::ALL {
        // cert-authority is its own and never enrols.
        if *name != ServiceName::CertAuthority {
            callers.push((name.to_string(), Some(plane.enrol(name.as_str()).await?)));
        }
    }
    callers.push(("admin".to_owned(), Some(plane.enrol("admin").await?)));
    let (node, token) = (Node::new("a-node")?, plane.token().await?);
    let address = plane.address(Part::Edge).to_string();
    let member = node.member(node.join(&address, &token.token).await?)?;
    callers.push(("a node".to_owned(), Some(member.mesh)));

    let mut wrong = Vec::new();
    let mut cells = 0;
    let here = |path: &str| !path.starts_with(BETWEEN_REPLICAS);
    for rule in TABLE.iter().filter(|rule| here(rule.path)) {
        let servers = servers(&plane, rule.path);
        ensure!(
            servers.is_empty() == rule.allowed.is_empty(),
            "{} is served by {servers:?}",
            rule.path
        );
        let calls = servers
            .iter()
            .flat_map(|server| callers.iter().map(move |caller| (server, caller)));
        for ((server, name), (who, mesh)) in calls {
            let identity = mesh.as_ref().map(Mesh::identity);
            let expected = rule.allowed.iter().any(|role| role.includes(identity));
            let answer = call(mesh.as_ref(), *server, *name, rule.path).await;
            let outcome = answer.with_context(|| format!("{who} calls {}", rule.path))?;
            cells += 1;
            if (outcome == Outcome::LetIn) != expected {
                wrong.push(format!("{who} × {name} {}: {outcome:?}", rule.path));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} wrong cells: {wrong:#?}", wrong.len());
    ensure!(cells > 200, "only {cells} cells were tried");
    // What no row names, and what a server doesn't have, is closed for everybody.
    let admin = callers.iter().find(|(who, _)| who == "admin");
    let mesh = admin.and_then(|(_, mesh)| mesh.as_ref());
    let (server, name) = (plane.public_address(), ServiceName::Supervisor);
    for path in [
        "/sextant.supervisor.v1.Admin/Unknown",
        "/sextant.tokenservice.v1.JoinTokens/Create",
    ] {
        let outcome = call(mesh, server, name, path).await?;
        ensure!(outcome == Outcome::Refused, "{path}: {outcome:?}");
    }
    Ok(())
}

/// Where a method is served on a network. datastore-proxy, whose callers have certificates of another authority, is tried
/// by the case `telemetry`.
fn servers(plane: &Plane, path: &str) -> Vec<(SocketAddr, ServiceName)> {
    let service = path.trim_start_matches('/').split('/').next();
    let at = |part, name| vec![(plane.address(part), name)];
    match service.unwrap_or_default() {
        "sextant.telemetry.v1.Telemetry" => [
            at(Part::CertAuthority, ServiceName::CertAuthority),
            at(Part::TokenService, ServiceName::TokenService),
            at(Part::Supervisor, ServiceName::Supervisor),
        ]
        .concat(),
        "sextant.certauthority.v1.CertAuthority"
        | "sextant.certauthority.v1.Seal"
        | "v2.KeyManagementService" => at(Part::CertAuthority, ServiceName::CertAuthority),
        "v1.ExternalJWTSigner" | "sextant.tokenservice.v1.JoinTokens" => {
            at(Part::TokenService, ServiceName::TokenService)
        }
        "sextant.supervisor.v1.Components"
        | "sextant.supervisor.v1.Egress"
        | "sextant.supervisor.v1.NodeRelay" => at(Part::Supervisor, ServiceName::Supervisor),
        "sextant.supervisor.v1.NodeSession" | "sextant.supervisor.v1.Admin" => {
            vec![(plane.public_address(), ServiceName::Supervisor)]
        }
        _ => Vec::new(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    LetIn,
    Refused,
}

pub async fn call(
    mesh: Option<&Mesh>,
    server: SocketAddr,
    name: ServiceName,
    path: &str,
) -> Result<Outcome> {
    let headers = match mesh {
        Some(mesh) => {
            let channel = mesh.channel(&server.to_string(), Peer::Service(name));
            let body = tonic::body::Body::new(Full::new(Bytes::from_static(EMPTY)));
            within(ask(channel, request(server, path, body)?)).await?
        }
        None => match stranger::connect(server, b"h2").await {
            Ok(stream) => within(ask_as_stranger(stream, server, path)).await?,
            Err(_) => return Ok(Outcome::Refused),
        },
    };
    let Some(headers) = headers else {
        return Ok(Outcome::LetIn);
    };
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    // A handler may refuse with the same code; the table has its own words.
    let by_table = [
        "may%20not%20call",
        "may not call",
        "no%20such%20method",
        "no such method",
    ];
    let message = text("grpc-message");
    match text("grpc-status").as_str() {
        "7" if by_table.iter().any(|words| message.contains(words)) => Ok(Outcome::Refused),
        "connection" => Ok(Outcome::Refused),
        _ => Ok(Outcome::LetIn),
    }
}

async fn within(
    call: impl Future<Output = Result<http::HeaderMap>>,
) -> Result<Option<http::HeaderMap>> {
    tokio::time::timeout(ANSWER, call).await.ok().transpose()
}

fn request<B>(server: SocketAddr, path: &str, body: B) -> Result<Request<B>> {
    Ok(Request::post(format!("https://{server}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)?)
}

async fn ask(channel: Channel, request: Request<tonic::body::Body>) -> Result<http::HeaderMap> {
    match channel.oneshot(request).await {
        Ok(response) => Ok(response.headers().clone()),
        Err(status) => bail!("{status}"),
    }
}

/// A listener that demands a certificate ends the connection; the headers say so in the same form.
async fn ask_as_stranger(
    stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
    server: SocketAddr,
    path: &str,
) -> Result<http::HeaderMap> {
    let refused = || {
        http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("connection"),
        )])
    };
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let Ok((mut sender, connection)) = shaken else {
        return Ok(refused());
    };
    tokio::spawn(connection);
    let body = Full::new(Bytes::from_static(EMPTY));
    match sender.send_request(request(server, path, body)?).await {
        Ok(response) => Ok(response.headers().clone()),
        Err(_) => Ok(refused()),
    }
}
