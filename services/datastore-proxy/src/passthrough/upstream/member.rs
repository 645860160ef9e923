//! One member of the etcd, and whether it is worth asking.

use super::tls::EtcdConfig;
use super::{Channel, connect};
use sextant_kit::backoff::Backoff;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections for short calls: enough to use more than one thread of either side.
const CALLS: usize = 2;

pub(super) struct Member {
    pub(super) address: String,
    calls: Vec<Channel>,
    turn: AtomicUsize,
    bulk: Channel,
    feed: Channel,
    health: Mutex<Health>,
}

/// Which connection to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Long answers that a slow client may leave lying.
    Bulk,
    /// Short calls.
    Calls,
    /// The one watch of everything, which is read at once.
    Feed,
}

struct Health {
    /// Not asked first before then.
    until: Option<Instant>,
    backoff: Backoff,
}

impl Member {
    pub(super) fn new(address: String, config: &Arc<EtcdConfig>, streams: u32) -> Self {
        let calls = (0..CALLS).map(|_| connect::lazy(&address, config, 1));
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        Self {
            calls: calls.collect(),
            turn: AtomicUsize::new(0),
            bulk: connect::lazy(&address, config, streams),
            feed: connect::lazy(&address, config, 64),
            health: Mutex::new(Health {
                until: None,
                backoff,
            }),
            address,
        }
    }

    pub(super) fn channel(&self, lane: Lane) -> Channel {
        match lane {
            Lane::Bulk => self.bulk.clone(),
            Lane::Calls => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CALLS;
                self.calls.get(turn).unwrap_or(&self.bulk).clone()
            }
            Lane::Feed => self.feed.clone(),
        }
    }

    pub(super) fn is_down(&self) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.until.is_some_and(|until| until > Instant::now())
    }

    /// `true` if this is news.
    pub(super) fn down(&self) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let news = health.until.is_none();
        let pause = health.backoff.next();
        health.until = Some(Instant::now() + pause);
        news
    }

    /// `true` if this is news.
    pub(super) fn up(&self) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let news = health.until.take().is_some();
        if news {
            health.backoff.reset();
        }
        news
    }
}
