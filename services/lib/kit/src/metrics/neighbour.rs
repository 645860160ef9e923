//! Metrics of a process that this one answers for, since it alone can reach it or has the right to ask: an upstream
//! component beside the runner, a node's own. Each has a path of its own, `/metrics/<name>`; none is mixed into ours.

use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What the neighbour answered, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// Its `Content-Type`, which names the format.
    pub content_type: String,
    /// The text.
    pub body: Bytes,
}

/// Asks the neighbour; the error says what was tried and what was found.
pub(crate) type Ask =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Exposition, String>> + Send>> + Send + Sync>;

/// Any asynchronous function as [`Ask`].
pub(super) fn ask<F, Fut>(fetch: F) -> Ask
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Exposition, String>> + Send + 'static,
{
    Arc::new(move || Box::pin(fetch()))
}
