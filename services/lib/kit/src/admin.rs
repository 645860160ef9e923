//! The admin port: `/livez`, `/readyz` with reasons, `/metrics`. Plain HTTP, reads only, nothing secret.

use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, Waiting};
use crate::service::Context;
use axum::extract::{Query, State};
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
