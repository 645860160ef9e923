//! The first contact with a supervisor.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};
use sextant_identity::pin::{CaHash, PinnedClient};
use sextant_identity::{
    Authority, ClientAuth, Error, Limits, Mesh, PeerInfo, ServiceName, serve_http,
};
use sextant_kit::{Drain, DrainTrigger};
use sextant_proto::join::ErrorBody;
use sextant_testkit::Root;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use support::*;
use time::format_description::well_known::{Rfc2822, Rfc3339};

type Heard = Arc<Mutex<Vec<String>>>;

struct Supervisor {
    address: String,
    heard: Heard,
    _trigger: DrainTrigger,
}

/// A join API that notes every path and bearer token it hears.
async fn supervisor_api(root: &Root, service: ServiceName, cacerts: String) -> Supervisor {
    supervisor_at(root.mesh(service), SystemTime::now(), cacerts).await
}

async fn dated(State(now): State<SystemTime>, mut answer: Response) -> Response {
    let date = time::OffsetDateTime::from(now).format(&Rfc2822).unwrap();
    let date = date.replace("+0000", "GMT").parse().unwrap();
    answer.headers_mut().insert("date", date);
    answer
}

/// The same with a clock of its own.
async fn supervisor_at(mesh: Mesh, now: SystemTime, cacerts: String) -> Supervisor {
    async fn join(
        State(heard): State<Heard>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> Result<Json<Value>, (StatusCode, Json<ErrorBody>)> {
        let bearer = headers["authorization"].to_str().unwrap().to_owned();
        heard.lock().unwrap().push(bearer.clone());
        if bearer != "Bearer good" {
            let (code, message) = ("token_unknown".to_owned(), "no such token".to_owned());
            return Err((StatusCode::FORBIDDEN, Json(ErrorBody { code, message })));
        }
        Ok(Json(json!({"echo": body})))
    }
    let heard = Heard::default();
    let app = axum::Router::new()
        .route("/cacerts", get(|| async { cacerts }))
        .route(
            "/exporter",
            get(|Extension(info): Extension<PeerInfo>| async move { Json(info.exporter.to_vec()) }),
        )
        .route("/big", get(|| async { "x".repeat(300 << 10) }))
        .route("/v1/join", post(join))
        .with_state(Arc::clone(&heard))
        .layer(axum::middleware::map_response_with_state(now, dated));
    let (drain, trigger) = Drain::new();
    let listener = loopback().await;
    let address = listener.local_addr().unwrap().to_string();
    let tls = mesh.server_tls(ClientAuth::Optional);
    tokio::spawn(serve_http(listener, tls, app, Limits::default(), drain));
    Supervisor {
        address,
        heard,
        _trigger: trigger,
    }
}

fn bundle(root: &Root) -> (String, CaHash) {
    let pem = root.bundle().mesh_pem();
    let hash = CaHash::of(pem.as_bytes());
    (pem, hash)
}

#[tokio::test]
async fn pins_asks_and_binds_to_its_connection() {
    let root = Root::new();
    let (pem, hash) = bundle(&root);
    let server = supervisor_api(&root, ServiceName::Supervisor, pem.clone()).await;
    let mut client = PinnedClient::connect(&server.address, hash).await.unwrap();
    assert_eq!(client.ca_pem(), pem);
    let exporter: Vec<u8> = client.get("/exporter").await.unwrap();
    assert_eq!(exporter, client.exporter());
    let answer: Value = client
        .post("/v1/join", Some("good"), &json!({"node_name": "n"}))
        .await
        .unwrap();
    assert_eq!(answer, json!({"echo": {"node_name": "n"}}));

    let refused = client
        .post::<_, Value>("/v1/join", Some("bad"), &json!({}))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    assert!(
        refused
            .to_string()
            .contains("no such token (token_unknown)"),
        "{refused}"
    );

    let other = PinnedClient::connect(&server.address, hash).await.unwrap();
    assert_ne!(other.exporter(), client.exporter());
}

#[tokio::test]
async fn a_wrong_hash_ends_it_before_anything_secret_is_sent() {
    let root = Root::new();
    let (pem, _) = bundle(&root);
    let (_, wanted) = bundle(&Root::new());
    let server = supervisor_api(&root, ServiceName::Supervisor, pem).await;
    let error = PinnedClient::connect(&server.address, wanted)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&wanted.to_string()), "{error}");
    assert!(server.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_right_bundle_from_somebody_else_is_no_use() {
    let root = Root::new();
    let (pem, hash) = bundle(&root);
    // Somebody in between can repeat the bundle, but has no certificate by it.
    let between = supervisor_api(&Root::new(), ServiceName::Supervisor, pem.clone()).await;
    let error = PinnedClient::connect(&between.address, hash)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("doesn't trust"), "{error}");
    // Another part of the cluster has one, but isn't the supervisor.
    let part = supervisor_api(&root, ServiceName::TokenService, pem).await;
    let error = PinnedClient::connect(&part.address, hash)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("wanted service/supervisor"),
        "{error}"
    );
}

#[tokio::test]
async fn answers_are_bounded() {
    let root = Root::new();
    let (pem, hash) = bundle(&root);
    let server = supervisor_api(&root, ServiceName::Supervisor, pem).await;
    let mut client = PinnedClient::connect(&server.address, hash).await.unwrap();
    let error = client.get::<Value>("/big").await.unwrap_err();
    assert!(
        error.to_string().contains("length limit exceeded"),
        "{error}"
    );
}

#[tokio::test]
async fn clocks_that_differ_are_told_with_the_refusal() {
    let root = Root::new();
    let (pem, hash) = bundle(&root);
    let then = SystemTime::now() - Duration::from_secs(3600);
    let mesh = |until: SystemTime| {
        let (mesh, credentials, _) = root.rotating_mesh(ServiceName::Supervisor);
        let wish = root
            .wish(Authority::Mesh)
            .identity(&ServiceName::Supervisor.into())
            .valid(then - Duration::from_secs(3600), until);
        credentials.send_replace(Arc::new(root.sign(wish)));
        mesh
    };
    let clock = time::OffsetDateTime::from(then).replace_nanosecond(0);
    let clock = clock.unwrap().format(&Rfc3339).unwrap();

    // By its own clock the certificate is valid for half an hour more.
    let expired = mesh(then + Duration::from_secs(1800));
    let server = supervisor_at(expired, then, pem.clone()).await;
    let error = PinnedClient::connect(&server.address, hash)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("expired at") && text.contains(&format!("its clock says {clock}, ours")),
        "{text}"
    );

    let valid = mesh(then + Duration::from_secs(7200));
    let server = supervisor_at(valid, then, pem).await;
    let mut client = PinnedClient::connect(&server.address, hash).await.unwrap();
    let refused = client
        .post::<_, Value>("/v1/join", Some("bad"), &json!({}))
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("token_unknown") && text.contains(&format!("its clock says {clock}, ours")),
        "{text}"
    );
}
