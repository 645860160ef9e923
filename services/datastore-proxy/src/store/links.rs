//! A few connections that readers take in turn.

use super::StoreError;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;

/// Connections of the kind `L`. Readers block; the connections belong to the runtime that this was made in.
pub(super) struct Links<L> {
    links: Vec<L>,
    next: AtomicUsize,
    runtime: Handle,
}

impl<L> Links<L> {
    /// So many, each made by `make`.
    pub(super) fn new(connections: usize, make: impl Fn() -> L) -> Self {
        Self {
            links: (0..connections).map(|_| make()).collect(),
            next: AtomicUsize::new(0),
            runtime: Handle::current(),
        }
    }

    /// The one whose turn it is.
    pub(super) fn next(&self) -> Result<&L, StoreError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.links.len().max(1);
        self.links.get(turn).ok_or_else(|| StoreError::Failed {
            doing: "reading".into(),
            found: "there is no connection to read with".into(),
        })
    }

    /// Waits for `work`.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}
