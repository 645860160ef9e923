//! A channel's connections, and which of them a call goes over.

use http_body_util::BodyExt as _;
use sextant_kit::telemetry::rpc;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tonic::body::Body;

/// A connection that is made when a call needs it, and how many calls are open on it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) connection: rpc::Client<tonic::transport::Channel>,
    open: Arc<AtomicUsize>,
}

impl Lane {
    pub(super) fn new(connection: rpc::Client<tonic::transport::Channel>) -> Self {
        Self {
            connection,
            open: Arc::default(),
        }
    }

    /// Counts a call, until its answer has ended.
    pub(super) fn begin(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }
}

/// An open call.
pub(super) struct Open(Arc<AtomicUsize>);

impl Open {
    /// Stays open until the answer's stream has ended, or nobody reads it any more.
    pub(super) fn with(self, response: http::Response<Body>) -> http::Response<Body> {
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _open = &self;
                frame
            }))
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The lane with the fewest open calls, the first of several: calls that never overlap need one connection.
pub(super) fn least(lanes: &[Lane]) -> usize {
    let open = |index: &usize| lanes[*index].open.load(Ordering::Relaxed);
    (0..lanes.len()).min_by_key(open).unwrap_or(0)
}

/// Where each lane is connected to, so that another one goes elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Targets(Arc<Mutex<Vec<Option<SocketAddr>>>>);

impl Targets {
    pub(super) fn new(lanes: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; lanes])))
    }

    /// How many other lanes than this are, or were last, connected to `target`.
    pub(super) fn others(&self, lane: usize, target: SocketAddr) -> usize {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = targets.iter().enumerate().filter(|(i, _)| *i != lane);
        others.filter(|(_, at)| **at == Some(target)).count()
    }

    pub(super) fn connected(&self, lane: usize, target: Option<SocketAddr>) {
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        targets[lane] = target;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_counts_what_others_are_connected_to() {
        let targets = Targets::new(3);
        let (here, there) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 2], 1).into());
        targets.connected(0, Some(here));
        targets.connected(1, Some(here));
        assert_eq!(targets.others(2, here), 2);
        assert_eq!(targets.others(1, here), 1);
        assert_eq!(targets.others(2, there), 0);
        targets.connected(1, Some(there));
        assert_eq!(targets.others(2, here), 1);
    }
}
