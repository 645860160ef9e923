//! Metrics of what listens on the node's loopback alone: read here, passed on by the admin port under paths of their own.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use sextant_kit::Metrics;
use sextant_kit::metrics::Exposition;
use std::time::Duration;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(4);
/// More of an answer is not read.
const MAX_METRICS: usize = 16 << 20;

/// Who they are, and where they listen: kube-proxy by our configuration of it, netpol-controller by its default.
const NEIGHBOURS: [(&str, u16); 2] = [("kube-proxy", 10249), ("netpol-controller", 9091)];

/// Passes all of them on.
pub fn offer(metrics: &Metrics) {
    for (name, port) in NEIGHBOURS {
        metrics.pass_on(name, move || fetch(port));
    }
}

async fn fetch(port: u16) -> Result<Exposition, String> {
    let what = format!("http://127.0.0.1:{port}/metrics");
    match tokio::time::timeout(DEADLINE, exchange(port)).await {
        Ok(Ok((StatusCode::OK, told))) => Ok(told),
        Ok(Ok((status, _))) => Err(format!("{what}: {status}")),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {} s", DEADLINE.as_secs())),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(port: u16) -> Result<(StatusCode, Exposition), Failure> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut requests, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the request; what it says then is in the answer, too.
    tokio::spawn(connection);
    let request = Request::get("/metrics")
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())?;
    let (head, body) = requests.send_request(request).await?.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let told = Exposition {
        content_type: content_type.unwrap_or_default().to_owned(),
        body: Limited::new(body, MAX_METRICS).collect().await?.to_bytes(),
    };
    Ok((head.status, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use axum::{Router, response::IntoResponse as _};

    #[tokio::test]
    async fn what_a_neighbour_tells_is_passed_on_whole() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = || async { ([("content-type", "text/plain")], "a 1\n").into_response() };
        let router = Router::new().route("/metrics", get(told));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        assert_eq!(
            fetch(port).await.unwrap(),
            Exposition {
                content_type: "text/plain".to_owned(),
                body: "a 1\n".into(),
            }
        );
        serving.abort();
        let _ = serving.await;
        let refused = fetch(port).await.unwrap_err();
        assert!(refused.contains(&format!(":{port}/metrics")), "{refused}");
    }
}
