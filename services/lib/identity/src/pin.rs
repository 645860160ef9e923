//! The first contact with a supervisor: HTTPS whose authority is known by its hash, or by its certificates.

mod bootstrap;
mod clock;
mod hash;

pub use hash::CaHash;

use crate::channel::{self, Dial, Peer};
use crate::error::Error;
use crate::identity::ServiceName;
use crate::tls::{self, Wanted};
use crate::trust;
use bytes::Bytes;
use clock::Skew;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sextant_kit::telemetry::propagation;
use sextant_proto::join::{ErrorBody, REJOIN_EXPORTER_LABEL};
use std::fmt;
use std::time::{Duration, SystemTime};
use tracing::Span;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 256 << 10;
const HTTP1: &[u8] = b"http/1.1";

/// One connection to a supervisor's join API with pinned anchors.
pub struct PinnedClient {
    address: String,
    ca_pem: String,
    exporter: [u8; 32],
    sender: SendRequest<Full<Bytes>>,
}

impl PinnedClient {
    /// Fetches `/cacerts` from `address` (host:port) without trust, compares its SHA-256 with `hash`, and
    /// connects again trusting exactly these anchors and `service/supervisor`. Nothing secret is sent before.
    pub async fn connect(address: &str, hash: CaHash) -> Result<Self, Error> {
        let fetching = bootstrap::fetch_anchors(address);
        let (pem, skew) = deadline(address, CONNECT_DEADLINE, fetching).await?;
        let found = CaHash::of(pem.as_bytes());
        if !found.matches(&hash) {
            return Err(Error::Peer {
                address: address.to_owned(),
                reason: format!(
                    "its CA bundle has SHA-256 {found}, but the token wants {hash}: this is another \
                     cluster, somebody is in between, or the token is from before the CA was replaced"
                ),
            });
        }
        let connecting = Self::connect_trusting(address, &pem).await;
        connecting.map_err(|error| skew.explain(error))
    }

    /// Connects to `address` (host:port) trusting `anchors_pem`, e.g. those of an enrolment folder.
    pub async fn connect_trusting(address: &str, anchors_pem: &str) -> Result<Self, Error> {
        let anchors = trust::anchors_from_pem(anchors_pem)?;
        let peer = Peer::Service(ServiceName::Supervisor);
        let wanted = Wanted {
            trust_domain: None,
            peer,
        };
        let dial = Dial::new(tls::client_config(&anchors, wanted, None, &[HTTP1])?, None);
        let (sender, exporter) = deadline(address, CONNECT_DEADLINE, open(address, &dial)).await?;
        let (address, ca_pem) = (address.to_owned(), anchors_pem.to_owned());
        Ok(Self {
            address,
            ca_pem,
            exporter,
            sender,
        })
    }

    /// The pinned anchors, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// TLS exporter of this connection, label `sextant_proto::join::REJOIN_EXPORTER_LABEL`.
    pub fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }

    /// GET, answer as JSON. A refusal is [`Error::Refused`] with the `ErrorBody`'s code and message.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Error> {
        self.request(Method::GET, path, None, Bytes::new()).await
    }

    /// POST JSON, answer as JSON; `bearer` goes into the Authorization header.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &mut self,
        path: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|e| self.error(e))?;
        self.request(Method::POST, path, bearer, body.into()).await
    }

    async fn request<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Bytes,
    ) -> Result<T, Error> {
        let what = format!("{method} {path}");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = bearer {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| self.error("the token holds characters no header may hold"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let mut request = request.body(Full::new(body)).map_err(|e| self.error(e))?;
        propagation::inject(&Span::current(), request.headers_mut());
        let address = self.address.clone();
        let exchange = exchange(&address, &mut self.sender, request);
        let Answer { status, skew, body } = deadline(&address, REQUEST_DEADLINE, exchange).await?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|e| self.error(format!("the answer to {what} isn't understood: {e}")));
        }
        let reason = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(error) => format!("{} ({})", error.message, error.code),
            Err(_) => status.to_string(),
        };
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.error(format!("{what}: {reason}")));
        }
        Err(skew.explain(Error::Refused {
            address,
            what,
            reason,
        }))
    }

    fn error(&self, reason: impl fmt::Display) -> Error {
        Error::Peer {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Debug for PinnedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedClient")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

async fn open(address: &str, dial: &Dial) -> Result<(SendRequest<Full<Bytes>>, [u8; 32]), Error> {
    let failed = |reason: String| Error::Peer {
        address: address.to_owned(),
        reason,
    };
    let stream = channel::connect(address, dial, |_| 0)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let exporter =
        stream
            .get_ref()
            .1
            .export_keying_material([0; 32], REJOIN_EXPORTER_LABEL, None)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(e.to_string()))?;
    // Ends when the sender is dropped.
    tokio::spawn(connection);
    Ok((sender, exporter))
}

/// The whole of an answer.
struct Answer {
    status: StatusCode,
    skew: Skew,
    body: Bytes,
}

/// One request and its whole answer, at most [`MAX_BODY`].
async fn exchange(
    address: &str,
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Error> {
    let failed = |reason: String| Error::Peer {
        address: address.to_owned(),
        reason,
    };
    sender.ready().await.map_err(|e| failed(e.to_string()))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let (status, skew) = (
        answer.status(),
        Skew::of(answer.headers(), SystemTime::now()),
    );
    let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|e| failed(e.to_string()))?.to_bytes();
    Ok(Answer { status, skew, body })
}

async fn deadline<T>(
    address: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Error::Peer {
            address: address.to_owned(),
            reason: format!("no answer within {limit:?}"),
        })?
}
