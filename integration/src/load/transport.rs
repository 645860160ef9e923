//! One client with one HTTP/2 connection, which treats a connection's end as client-go does.

use super::server::Server;
use super::tally::Tally;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long connecting, or the beginning of an answer, may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Like client-go's: pings when idle, and a peer that doesn't answer them is gone.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
/// How often a request may go again before it has failed.
const TRIES: usize = 10;
const MAX_BODY: usize = 16 << 20;

pub(super) struct Transport {
    server: Arc<Server>,
    tally: Arc<Tally>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Transport {
    pub fn new(server: &Arc<Server>, tally: &Arc<Tally>) -> Self {
        Self {
            server: Arc::clone(server),
            tally: Arc::clone(tally),
            sender: None,
        }
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let response = self.open(method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect();
        let body = timeout(DEADLINE, body)
            .await
            .context("an answer that doesn't end")?
            .map_err(|error| anyhow::anyhow!("an answer broke off: {error:?}"))?;
        Ok((status, body.to_bytes()))
    }

    /// Asks, and returns once the answer begins.
    pub async fn open(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        for _ in 0..TRIES {
            let request = Request::builder()
                .method(method)
                .uri(format!("https://{}{path}", self.server.address))
                .header(header::ACCEPT, "application/json")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()))?;
            let mut sender = self.connected().await?;
            match timeout(DEADLINE, sender.send_request(request)).await {
                Err(_) => bail!("{method} {path}: no answer within {DEADLINE:?}"),
                Ok(Ok(response)) => match retry_after(response.status(), response.headers()) {
                    Some(pause) => {
                        self.tally.asked_to_wait();
                        sleep(pause).await;
                    }
                    None => return Ok(response),
                },
                Ok(Err(error)) if was_not_begun(&error) => {
                    self.tally.moved();
                    self.sender = None;
                }
                Ok(Err(error)) => {
                    self.sender = None;
                    bail!("{method} {path}: {error:?}");
                }
            }
        }
        bail!("{method} {path}: not answered at the {TRIES}th try")
    }

    /// The next request goes over a new connection.
    pub fn disconnect(&mut self) {
        self.sender = None;
    }

    async fn connected(&mut self) -> Result<SendRequest<Full<Bytes>>> {
        if let Some(sender) = self.sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = timeout(DEADLINE, self.connect()).await;
        let sender = sender.with_context(|| format!("connecting: {DEADLINE:?} have passed"))??;
        Ok(self.sender.insert(sender).clone())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let Server { address, name, tls } = &*self.server;
        let stream = TcpStream::connect(address).await.context("dialling")?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name.clone(), stream)
            .await
            .context("the TLS handshake")?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .handshake(TokioIo::new(stream))
            .await
            .context("HTTP/2")?;
        // Its end is told by the requests on it.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// client-go comes again after 429 and 5xx that name a time.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

/// Whether the server can't have begun the request, so that Go's HTTP/2 transport sends it again.
fn was_not_begun(error: &hyper::Error) -> bool {
    let h2 = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_canceled()
        || h2.is_some_and(|error| match error.reason() {
            Some(h2::Reason::NO_ERROR) => error.is_go_away(),
            Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
            _ => false,
        })
}
