//! The one connection over which everything of this process goes to the collector.
//!
//! `https://` is mutual TLS with the cluster's own authorities. The process has no identity yet when it begins to tell
//! what it does, so until [`secure`] is called the exporters wait and their bounded queues fill. Where
//! `OTEL_EXPORTER_OTLP_CERTIFICATE` names other authorities, it is TLS with whoever these have signed. `http://` is
//! plaintext; `unix:` a socket that somebody on this machine passes on from.

mod others;

pub use others::VARIABLES;

use crate::error::Error;
use http::Uri;
use hyper_util::rt::TokioIo;
use others::Files;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// The variable that names the collector.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// OTLP's own.
const PORT: u16 = 4317;
const CALL_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What a connection to the collector is, whatever secures it.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection under way.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send>>;

type Dial = dyn Fn(String) -> Connecting + Send + Sync;

#[derive(Clone)]
enum Way {
    /// There will be none any more.
    Closed,
    Open(Arc<Dial>),
    /// The identity isn't there yet.
    Waiting,
}

static WAY: LazyLock<watch::Sender<Way>> = LazyLock::new(|| watch::Sender::new(Way::Waiting));
static CHANNEL: OnceLock<Channel> = OnceLock::new();

#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// `host:port`, verified as a member of the mesh.
    Mesh(String),
    /// `host:port`, verified by what the files say.
    Others(String, Files),
    Plain(Uri),
    Unix(PathBuf),
}

/// Says how a TLS connection to `host:port` of the collector is made. The newest call counts; connections that are
/// there stay.
pub fn secure(dial: impl Fn(String) -> Connecting + Send + Sync + 'static) {
    WAY.send_replace(Way::Open(Arc::new(dial)));
}

/// The channel that this process exports over, for what it passes on for others. None where it exports nothing.
pub fn channel() -> Option<Channel> {
    CHANNEL.get().cloned()
}

/// Makes the channel of [`channel`], if `endpoint` leads anywhere. Must run within the runtime.
pub(super) fn open(endpoint: &str) -> Result<Option<Channel>, Error> {
    if endpoint.is_empty() {
        return Ok(None);
    }
    let channel = match target(endpoint, files()?)? {
        Target::Mesh(address) => connect_with(move || {
            let address = address.clone();
            async move { way().await?(address).await }
        }),
        Target::Others(address, files) => connect_with(move || files.clone().dial(address.clone())),
        Target::Plain(uri) => settings(Endpoint::from(uri))
            .connect_timeout(CONNECT_DEADLINE)
            .connect_lazy(),
        Target::Unix(path) if !path.exists() => {
            tracing::debug!(path = %path.display(), "nothing is exported: there is no such socket");
            return Ok(None);
        }
        Target::Unix(path) => connect_with(move || unix(path.clone())),
    };
    Ok(Some(CHANNEL.get_or_init(|| channel).clone()))
}

/// Whether the way to `endpoint` opens only once this process has an identity.
pub(super) fn needs_identity(endpoint: &str) -> bool {
    let target = files().and_then(|files| target(endpoint, files));
    matches!(target, Ok(Target::Mesh(_)))
}

fn files() -> Result<Option<Files>, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty());
    Files::named(|name| set(name).map(PathBuf::from))
}

/// Lets go whoever still waits for an identity: the process ends.
pub(super) fn give_up() {
    WAY.send_if_modified(|way| {
        let waiting = matches!(way, Way::Waiting);
        if waiting {
            *way = Way::Closed;
        }
        waiting
    });
}

async fn way() -> io::Result<Arc<Dial>> {
    let mut way = WAY.subscribe();
    let way = way.wait_for(|way| !matches!(way, Way::Waiting)).await;
    match way.as_deref() {
        Ok(Way::Open(dial)) => Ok(Arc::clone(dial)),
        _ => Err(io::Error::other(
            "the process ends, and it never had an identity",
        )),
    }
}

async fn unix(path: PathBuf) -> io::Result<Box<dyn Connection>> {
    Ok(Box::new(UnixStream::connect(path).await?))
}

/// Without a deadline for connecting: the wait for an identity is part of it.
fn connect_with<F, Fut>(connect: F) -> Channel
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Box<dyn Connection>>> + Send + 'static,
{
    // The connector knows where to; this only fills in :authority.
    let endpoint = settings(Endpoint::from_static("http://collector"));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let connection = connect();
        async move { connection.await.map(TokioIo::new) }
    }))
}

fn settings(endpoint: Endpoint) -> Endpoint {
    endpoint
        .timeout(CALL_DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(CALL_DEADLINE)
}

fn target(endpoint: &str, files: Option<Files>) -> Result<Target, Error> {
    let wrong = |reason: &str| {
        let wanted = "give https://host:port, http://host:port or unix:/path";
        Error::Telemetry(format!("{ENDPOINT} `{endpoint}`: {reason}; {wanted}"))
    };
    if let Some(path) = endpoint.strip_prefix("unix:") {
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        return match path.is_absolute() {
            true => Ok(Target::Unix(path.to_owned())),
            false => Err(wrong("the path isn't absolute")),
        };
    }
    let uri: Uri = endpoint.parse().map_err(|_| wrong("it is no URL"))?;
    let host = uri.host().ok_or_else(|| wrong("it has no host"))?;
    match uri.scheme_str() {
        Some("http") => Ok(Target::Plain(uri)),
        Some("https") => {
            let port = uri.port_u16().unwrap_or(PORT);
            let address = format!("{host}:{port}");
            Ok(match files {
                Some(files) => Target::Others(address, files),
                None => Target::Mesh(address),
            })
        }
        _ => Err(wrong("another scheme")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str) -> Result<Target, Error> {
        super::target(endpoint, None)
    }

    #[test]
    fn with_authorities_of_others_it_is_not_the_mesh() {
        let files = Files::named(|name| name.ends_with("OTLP_CERTIFICATE").then(|| "/ca".into()));
        let files = files.unwrap();
        let others = super::target("https://collector", files.clone()).unwrap();
        let wanted = Target::Others("collector:4317".into(), files.clone().unwrap());
        assert_eq!(others, wanted);
        let plain = super::target("http://collector:4317", files).unwrap();
        assert!(matches!(plain, Target::Plain(_)), "{plain:?}");
    }

    #[test]
    fn the_scheme_says_how_the_collector_is_reached() {
        let mesh = |address: &str| Target::Mesh(address.to_owned());
        assert_eq!(
            target("https://collector:4317").unwrap(),
            mesh("collector:4317")
        );
        assert_eq!(
            target("https://collector/").unwrap(),
            mesh("collector:4317")
        );
        assert_eq!(target("https://[::1]:9").unwrap(), mesh("[::1]:9"));
        for text in ["unix:/run/otlp.sock", "unix:///run/otlp.sock"] {
            assert_eq!(target(text).unwrap(), Target::Unix("/run/otlp.sock".into()));
        }
        let plain = target("http://collector:4317").unwrap();
        assert!(matches!(plain, Target::Plain(_)), "{plain:?}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("collector:4317", "another scheme"),
            ("ftp://collector", "another scheme"),
            ("/path", "no host"),
            ("unix:otlp.sock", "isn't absolute"),
            ("http://a b", "no URL"),
        ] {
            let error = target(text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
