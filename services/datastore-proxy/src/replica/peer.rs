//! The way to other replicas.

use sextant_kit::telemetry::rpc;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// A connection to one replica, made when it is needed and anew when it is lost.
pub type PeerChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// Makes the channel to an address.
pub type Dial = Arc<dyn Fn(&str) -> PeerChannel + Send + Sync>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Dials without TLS, for replicas on one machine.
pub fn loopback() -> Dial {
    Arc::new(|address| {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1:0"))
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        let channel = rpc::Client::new(endpoint.connect_lazy());
        let lost = |error: tonic::transport::Error| Status::from_error(Box::new(error));
        BoxCloneSyncService::new(channel.map_err(lost))
    })
}
