//! gRPC clients over the mesh.

use crate::identity::{Identity, ServiceName};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;

/// Whom a client demands at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Anybody of the trust domain.
    Any,
    /// Exactly this identity.
    Identity(Identity),
    /// A replica of this service.
    Service(ServiceName),
}

/// A lazily connected gRPC channel that traces and measures every call and carries the trace context.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: tonic::transport::Channel,
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.inner.call(request))
    }
}
