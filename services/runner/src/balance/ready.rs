//! Asks the upstreams whether they are ready.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::Shared;

/// Between questions. A part that stops goes on serving for some time after it has said so: kube-apiserver for its
/// `--shutdown-delay-duration`, which is longer than this and [`DEADLINE`].
const INTERVAL: Duration = Duration::from_millis(500);
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// Asks `/readyz` at `port` of every address, for as long as it is polled.
pub(super) async fn follow(port: u16, shared: Shared) {
    loop {
        let addresses = shared.pool().addresses();
        let answers = addresses.into_iter().map(|address| async move {
            let asked = timeout(DEADLINE, is_ready(SocketAddr::new(address.ip(), port))).await;
            (address, asked.ok())
        });
        for (address, ready) in futures::future::join_all(answers).await {
            // Silence says nothing: on a busy machine the one replica that serves may be late. One that vanished fails
            // connections soon.
            let Some(ready) = ready else { continue };
            if shared.pool().is_ready(address, ready) {
                tracing::info!(upstream = %address, ready, "changed");
            }
        }
        sleep(INTERVAL).await;
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(address).await else {
        return false;
    };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let Ok((mut requests, connection)) = handshake else {
        return false;
    };
    let request = Request::get("/readyz").header(header::HOST, address.to_string());
    let Ok(request) = request.body(Empty::<Bytes>::new()) else {
        return false;
    };
    tokio::select! {
        answer = requests.send_request(request) => {
            answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
        }
        _ = connection => false,
    }
}
