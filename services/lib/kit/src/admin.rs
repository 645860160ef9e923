//! The admin port: `/livez`, `/readyz` with reasons, `/metrics`, `/metrics/<neighbour>`. Plain HTTP, reads only,
//! nothing secret.

use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, Waiting};
use crate::service::Context;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Admin {
    drain: Drain,
    readiness: Readiness,
    metrics: Metrics,
}

#[derive(Deserialize)]
struct ReadyQuery {
    format: Option<String>,
}

/// The admin port's routes.
pub fn router(ctx: &Context) -> Router {
    let admin = Admin {
        drain: ctx.drain.clone(),
        readiness: ctx.readiness.clone(),
        metrics: ctx.metrics.clone(),
    };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/metrics/{neighbour}", get(neighbour))
        .with_state(admin)
}

/// Serves the admin port for the life of the process: it answers during the drain, too.
pub async fn serve(listener: TcpListener, ctx: &Context) -> std::io::Result<()> {
    axum::serve(listener, router(ctx)).await
}

async fn readyz(State(admin): State<Admin>, Query(query): Query<ReadyQuery>) -> Response {
    let mut waiting = admin.readiness.waiting();
    if admin.drain.is_draining() {
        waiting.push(Waiting {
            name: "drain".into(),
            reason: "the process is stopping".into(),
        });
    }
    let status = if waiting.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let degraded = admin.readiness.degraded();
    if query.format.as_deref() == Some("json") {
        let body = json!({
            "ready": waiting.is_empty(),
            "waiting": as_json(&waiting),
            "degraded": as_json(&degraded),
        });
        return (status, Json(body)).into_response();
    }
    let mut text = String::new();
    if waiting.is_empty() {
        text.push_str("ok\n");
    }
    for Waiting { name, reason } in &waiting {
        text.push_str(&format!("{name}: {reason}\n"));
    }
    for Waiting { name, reason } in &degraded {
        text.push_str(&format!("degraded: {name}: {reason}\n"));
    }
    (status, text).into_response()
}

fn as_json(reasons: &[Waiting]) -> Vec<serde_json::Value> {
    reasons
        .iter()
        .map(|w| json!({"name": w.name, "reason": w.reason}))
        .collect()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn neighbour(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    let Some(ask) = admin.metrics.neighbour(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match ask().await {
        Ok(told) => ([(header::CONTENT_TYPE, told.content_type)], told.body).into_response(),
        Err(reason) => (StatusCode::BAD_GATEWAY, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exposition;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::Service as _;

    async fn get(ctx: &Context, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(ctx).call(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_neighbours_metrics_have_a_path_of_their_own() {
        let (ctx, _trigger) = Context::new();
        ctx.metrics.pass_on("well", || async {
            Ok(Exposition {
                content_type: "text/plain; version=0.0.4".to_owned(),
                body: "theirs 1\n".into(),
            })
        });
        ctx.metrics
            .pass_on("away", || async { Err("connection refused".to_owned()) });
        assert_eq!(
            get(&ctx, "/metrics/well").await,
            (StatusCode::OK, "theirs 1\n".to_owned())
        );
        let (status, reason) = get(&ctx, "/metrics/away").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(reason, "connection refused\n");
        let (status, _) = get(&ctx, "/metrics/unknown").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(!get(&ctx, "/metrics").await.1.contains("theirs"));
    }
}
