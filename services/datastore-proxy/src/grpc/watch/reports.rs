//! Reports of progress that wait until the hub is fresh.

use std::future::Future;
use std::pin::Pin;

/// Reports that are due.
#[derive(Clone, Copy, Default)]
pub(super) struct Reports {
    /// On behalf of all watches.
    pub(super) all: bool,
    /// For each watch that wants them from time to time.
    pub(super) each: bool,
}

/// Resolves once the hub is fresh.
pub(super) type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The reports that are due, once the hub is fresh; never without a refresh.
pub(super) async fn refreshed(refresh: &mut Option<(Reports, Refresh)>) -> Reports {
    let Some((reports, fresh)) = refresh else {
        return std::future::pending().await;
    };
    fresh.as_mut().await;
    let reports = *reports;
    *refresh = None;
    reports
}
