//! Lazy connections to one member of an etcd.

use super::Channel;
use super::tls::EtcdConfig;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Endpoint, Uri};

/// All of a connect, with resolving and the handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// etcd takes more than a ping in 5 s, or any without a call, for abuse.
const PING_INTERVAL: Duration = Duration::from_secs(8);
const PING_DEADLINE: Duration = Duration::from_secs(4);
/// What one unread stream may hold.
const STREAM_WINDOW: u32 = 512 << 10;

/// A connection of which at most `streams` streams lie unread at a time: as many fit into its window, so that they
/// don't hold up the others.
pub(super) fn lazy(member: &str, config: &Arc<EtcdConfig>, streams: u32) -> Channel {
    let scheme = if config.is_tls() { "https" } else { "http" };
    // The connector dials; the URI only says what requests name.
    let origin = format!("{scheme}://{member}").parse::<Uri>();
    let endpoint = Endpoint::from_static("http://etcd")
        .connect_timeout(CONNECT_DEADLINE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * streams.max(8))
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .keep_alive_while_idle(false);
    let endpoint = match origin {
        Ok(origin) => endpoint.origin(origin),
        Err(_) => endpoint,
    };
    let member: Arc<str> = member.into();
    let config = Arc::clone(config);
    let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let (member, config) = (Arc::clone(&member), Arc::clone(&config));
        async move {
            let dial = dial(&member, &config);
            match tokio::time::timeout(CONNECT_DEADLINE, dial).await {
                Ok(stream) => stream.map(TokioIo::new),
                Err(_) => Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("no connection within {CONNECT_DEADLINE:?}"),
                )),
            }
        }
    }));
    Channel::new(channel)
}

async fn dial(
    member: &str,
    config: &Arc<EtcdConfig>,
) -> Result<Either<TcpStream, TlsStream<TcpStream>>, Error> {
    let files = Arc::clone(config);
    let tls = tokio::task::spawn_blocking(move || files.load())
        .await
        .map_err(Error::other)?
        .map_err(Error::other)?;
    let stream = TcpStream::connect(member).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Either::Left(stream));
    };
    let host = member.rsplit_once(':').map_or(member, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(|error| Error::new(error.kind(), format!("TLS: {error}")))?;
    Ok(Either::Right(stream))
}
