//! One request at a time, each whole within its deadline.

use crate::config::ApiConfig;
use crate::error::Error;
use crate::object::Object;
use crate::tls;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// From dialling to the answer's last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// A Secret holds at most 1 MiB, which base64 makes a third longer; metadata come on top.
const MAX_BODY: usize = 2 << 20;
/// An API's words may repeat what they were asked; more of them help nobody.
const MAX_MESSAGE: usize = 512;

/// A client of the hosting cluster's API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ApiConfig>,
    server: Arc<str>,
}

/// What the API says with an error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
}

impl Client {
    /// For the API that `config` or, in a pod, the environment names.
    pub fn new(config: &ApiConfig) -> Result<Self, Error> {
        let server = config.address(|name| std::env::var(name).ok())?;
        Ok(Self {
            config: Arc::new(config.clone()),
            server: server.into(),
        })
    }

    /// The namespace that this pod runs in.
    pub async fn namespace(&self) -> Result<String, Error> {
        let text = self.read("namespace").await?;
        Ok(text.trim().to_owned())
    }

    /// The object of that name in this pod's namespace, if there is one.
    pub async fn get<K: Object>(&self, name: &str) -> Result<Option<K>, Error> {
        let path = format!("{}/{name}", self.collection::<K>().await?);
        match self.exchange(Method::GET, &path, Bytes::new()).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Makes an object that isn't there; one that is makes this a conflict ([`Error::is_conflict`]).
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, Error> {
        let path = self.collection::<K>().await?;
        self.send(Method::POST, &path, object).await
    }

    /// Sets the keys that `object` has; what else is there stays, and so do others' labels. With a resource version
    /// it is a conflict when the object has changed since ([`Error::is_conflict`]).
    pub async fn merge<K: Object>(&self, object: &K) -> Result<K, Error> {
        let path = format!(
            "{}/{}",
            self.collection::<K>().await?,
            object.metadata().name
        );
        self.send(Method::PATCH, &path, object).await
    }

    /// Sends `body` as JSON.
    pub async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Answer {
            what: format!("{method} {path}"),
            reason: error.to_string(),
        })?;
        self.exchange(method, path, body.into()).await
    }

    async fn collection<K: Object>(&self) -> Result<String, Error> {
        let namespace = self.namespace().await?;
        Ok(format!("/api/v1/namespaces/{namespace}/{}", K::PLURAL))
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, Error> {
        let what = format!("{method} {path}");
        let asked = self.ask(method, path, body, &what);
        let asked = tokio::time::timeout(DEADLINE, asked).await;
        let (status, body) = asked.map_err(|_| Error::TimedOut {
            server: self.server.to_string(),
            what: what.clone(),
            limit: DEADLINE,
        })??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| Error::Answer {
                what,
                // A parser's words may quote the answer, and the answer may be a Secret.
                reason: format!("line {} column {}", error.line(), error.column()),
            });
        }
        let said = serde_json::from_slice::<Status>(&body).unwrap_or_default();
        Err(Error::Refused {
            what,
            status,
            message: said.message.chars().take(MAX_MESSAGE).collect(),
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        what: &str,
    ) -> Result<(StatusCode, Bytes), Error> {
        let failed = |reason: &dyn Display| Error::Unreachable {
            server: self.server.to_string(),
            what: what.to_owned(),
            reason: reason.to_string(),
        };
        let content = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &*self.server)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content)
            .header(
                header::USER_AGENT,
                concat!("sextant/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::AUTHORIZATION, self.bearer().await?)
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        let stream = self.connect(&failed).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        Ok((status, body))
    }

    async fn connect(
        &self,
        failed: &(dyn Fn(&dyn Display) -> Error + Sync),
    ) -> Result<TlsStream<TcpStream>, Error> {
        let anchors = self.read("ca.crt").await?;
        let path = self.config.folder.join("ca.crt");
        let config = tls::client_config(anchors.as_bytes(), &path)?;
        let name = tls::server_name(&self.server)
            .ok_or_else(|| failed(&"this isn't host:port: correct the server's address"))?;
        let stream = TcpStream::connect(&*self.server)
            .await
            .map_err(|error| failed(&error))?;
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(name, stream).await;
        connected.map_err(|error| failed(&error))
    }

    /// The pod's own token, which kubelet replaces before it ends.
    async fn bearer(&self) -> Result<HeaderValue, Error> {
        let token = self.read("token").await?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| Error::File {
            path: self.config.folder.join("token"),
            reason: "it holds more than one line".to_owned(),
        })?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }

    async fn read(&self, name: &str) -> Result<Zeroizing<String>, Error> {
        let path = self.config.folder.join(name);
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(error) => Err(Error::File {
                path,
                reason: error.to_string(),
            }),
        }
    }
}
