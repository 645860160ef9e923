//! Metrics of what nobody else on the network may ask: read here, passed on by the admin port under paths of their own.

use crate::api::tls;
use crate::store::State;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sextant_identity::NodeName;
use sextant_kit::Metrics;
use sextant_kit::metrics::Exposition;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

const DEADLINE: Duration = Duration::from_secs(4);
/// More of an answer is not read.
const MAX_METRICS: usize = 16 << 20;

/// Who they are, and where they listen: kube-proxy by our configuration of it, netpol-controller by its default.
const NEIGHBOURS: [(&str, u16); 2] = [("kube-proxy", 10249), ("netpol-controller", 9091)];
const KUBELET: (&str, u16) = ("kubelet", 10250);

/// Passes all of them on. The kubelet listens on the node's own address and wants a certificate: its own one, which it
/// holds for the API, is shown to it.
pub fn offer(
    metrics: &Metrics,
    name: &NodeName,
    state: &State,
    node: watch::Receiver<Vec<IpAddr>>,
) {
    for (name, port) in NEIGHBOURS {
        metrics.pass_on(name, move || fetch(([127, 0, 0, 1], port).into(), None));
    }
    let (kubelet, port) = KUBELET;
    let (name, state) = (name.to_string(), state.clone());
    metrics.pass_on(kubelet, move || {
        let (node, proof) = (
            node.borrow().first().copied(),
            (name.clone(), state.clone()),
        );
        async move {
            let address = node.ok_or("the node has no address yet")?;
            fetch((address, port).into(), Some(proof)).await
        }
    });
}

/// The node's name and where its certificates lie.
type Proof = (String, State);

async fn fetch(address: SocketAddr, proof: Option<Proof>) -> Result<Exposition, String> {
    let what = format!("/metrics at {address}");
    match tokio::time::timeout(DEADLINE, ask(address, proof)).await {
        Ok(Ok((StatusCode::OK, told))) => Ok(told),
        Ok(Ok((status, _))) => Err(format!("{what}: {status}")),
        Ok(Err(error)) => Err(format!("{what}: {error:#}")),
        Err(_) => Err(format!("{what}: no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn ask(
    address: SocketAddr,
    proof: Option<Proof>,
) -> anyhow::Result<(StatusCode, Exposition)> {
    let stream = TcpStream::connect(address).await?;
    let Some((name, state)) = proof else {
        return exchange(stream).await;
    };
    let tls = TlsConnector::from(Arc::new(tls(&state)?));
    exchange(tls.connect(ServerName::try_from(name)?, stream).await?).await
}

async fn exchange<S>(stream: S) -> anyhow::Result<(StatusCode, Exposition)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut requests, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("/metrics")
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())?;
    let (head, body) = requests.send_request(request).await?.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let body = Limited::new(body, MAX_METRICS).collect().await;
    let told = Exposition {
        content_type: content_type.unwrap_or_default().to_owned(),
        body: body.map_err(|error| anyhow::anyhow!(error))?.to_bytes(),
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
        let address = listener.local_addr().unwrap();
        let told = || async { ([("content-type", "text/plain")], "a 1\n").into_response() };
        let router = Router::new().route("/metrics", get(told));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        assert_eq!(
            fetch(address, None).await.unwrap(),
            Exposition {
                content_type: "text/plain".to_owned(),
                body: "a 1\n".into(),
            }
        );
        serving.abort();
        let _ = serving.await;
        let refused = fetch(address, None).await.unwrap_err();
        assert!(refused.contains(&address.to_string()), "{refused}");
    }
}
