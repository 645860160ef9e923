//! Paths, bodies and bounds of the join API.

use super::limits::Attempts;
use super::nonce::Nonces;
use crate::certificates::Issuer;
use crate::domain::cluster::ClusterConfig;
use crate::domain::settings::node_settings;
use crate::metrics::JoinMetrics;
use crate::refusal::{Refusal, RefusalCode};
use crate::session::Hub;
use crate::store::Datastore;
use crate::store::mirror::State as Kept;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sextant_identity::{Channel, Mesh, PeerInfo, TrustBundle};
use sextant_proto::join::JoinResponse;
use sextant_proto::supervisor::{NodeCertificates, Trust};
use sextant_proto::tokenservice::join_tokens_client::JoinTokensClient;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Longest body.
const BODY: usize = 64 * 1024;
/// Requests at one time.
const CONCURRENCY: usize = 64;
/// Longest time for a body to arrive. Short, since whoever dawdles takes one of the few places meanwhile.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for the answer to a request that is there.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the join API works with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JoinApi {
    /// Wanted cluster.
    pub cluster: Arc<ClusterConfig>,
    /// For cert-authority.
    pub mesh: Mesh,
    /// Anchors, followed.
    pub trust: watch::Receiver<Arc<TrustBundle>>,
    /// token-service.
    pub tokens: JoinTokensClient<Channel>,
    /// Makes certificates.
    pub issuer: Issuer,
    /// The registry.
    pub store: Datastore,
    /// A copy of our state.
    pub state: watch::Receiver<Arc<Kept>>,
    /// Sessions of this replica.
    pub hub: Hub,
    /// Nonces that were given.
    pub nonces: Nonces,
    /// Attempts by source.
    pub attempts: Attempts,
    /// What is counted.
    pub metrics: JoinMetrics,
}

impl JoinApi {
    pub(super) fn response(&self, certificates: NodeCertificates) -> JoinResponse {
        JoinResponse {
            certificates,
            trust: Trust::from(&**self.trust.borrow()),
            settings: node_settings(&self.cluster),
        }
    }
}

/// The routes with their bounds.
pub fn router(api: JoinApi) -> Router {
    let bounds = Bounds {
        attempts: api.attempts.clone(),
        slots: Arc::new(Semaphore::new(CONCURRENCY)),
    };
    Router::new()
        .route("/cacerts", get(ca_certificates))
        .route("/ping", get(|| async { "pong" }))
        .route("/v1/join", post(join))
        .route("/v1/rejoin/nonce", get(nonce))
        .route("/v1/rejoin", post(rejoin))
        .route("/v1/enroll", post(enroll))
        .layer(middleware::from_fn_with_state(bounds, bounded))
        .with_state(api)
}

#[derive(Clone)]
struct Bounds {
    attempts: Attempts,
    slots: Arc<Semaphore>,
}

async fn bounded(
    State(bounds): State<Bounds>,
    Extension(peer): Extension<PeerInfo>,
    request: Request,
    next: Next,
) -> Response {
    let busy = |message: &str| Refusal::new(RefusalCode::TooManyRequests, message).into_response();
    // A probe of the balancer costs nothing and isn't counted.
    if request.uri().path() != "/ping" && !bounds.attempts.take(peer.addr.ip(), Instant::now()) {
        return busy("too many requests from this address: try again in some seconds");
    }
    let Ok(_slot) = bounds.slots.try_acquire() else {
        return busy("too many requests at this time: try again in some seconds");
    };
    let request = match received(request).await {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(RefusalCode::Unavailable, "no answer within 30 s: try again")
            .into_response(),
    }
}

/// The request with all of its body.
async fn received(request: Request) -> Result<Request, Refusal> {
    let too_large = || {
        let message = format!("the body is longer than {BODY} bytes");
        Refusal::new(RefusalCode::TooLarge, message)
    };
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > BODY as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, BODY)).await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, Body::from(body))),
        // Or the caller hung up, and hears nothing any more.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Refusal::new(
            RefusalCode::TooSlow,
            format!("the body didn't arrive within {BODY_DEADLINE:?}: try again"),
        )),
    }
}

async fn ca_certificates(State(api): State<JoinApi>) -> Response {
    let pem = api.trust.borrow().mesh_pem();
    ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
}

async fn join(
    State(api): State<JoinApi>,
    Extension(peer): Extension<PeerInfo>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    let outcome = match parse(&body) {
        Ok(request) => {
            api.join(authorization, peer.addr.ip().to_canonical(), request)
                .await
        }
        Err(refusal) => Err(refusal),
    };
    answer(&api.metrics, "join", &peer, outcome)
}

async fn nonce(State(api): State<JoinApi>) -> Response {
    Json(api.nonce()).into_response()
}

async fn rejoin(
    State(api): State<JoinApi>,
    Extension(peer): Extension<PeerInfo>,
    body: Bytes,
) -> Response {
    let outcome = match parse(&body) {
        Ok(request) => api.rejoin(&peer.exporter, request).await,
        Err(refusal) => Err(refusal),
    };
    answer(&api.metrics, "rejoin", &peer, outcome)
}

async fn enroll(
    State(api): State<JoinApi>,
    Extension(peer): Extension<PeerInfo>,
    body: Bytes,
) -> Response {
    let outcome = match parse(&body) {
        Ok(request) => api.enroll(request).await,
        Err(refusal) => Err(refusal),
    };
    answer(&api.metrics, "enroll", &peer, outcome)
}

/// The error of a parser may quote the body, and the body may hold a token: only its place is told.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            RefusalCode::Malformed,
            format!(
                "the body is not the JSON of this request (line {}, column {}): do both sides run the same version?",
                error.line(),
                error.column()
            ),
        )
    })
}

fn answer<T: Serialize>(
    metrics: &JoinMetrics,
    call: &'static str,
    peer: &PeerInfo,
    outcome: Result<T, Refusal>,
) -> Response {
    match outcome {
        Ok(body) => {
            metrics.count(call, "ok");
            Json(body).into_response()
        }
        Err(refusal) => {
            metrics.count(call, refusal.code.as_str());
            tracing::warn!(
                call,
                source = %peer.addr.ip().to_canonical(),
                code = refusal.code.as_str(),
                // `message` is the line's own.
                reason = refusal.message,
                "refused"
            );
            refusal.into_response()
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.code.http(), Json(self.body())).into_response()
    }
}
