//! What has to be true, and stay so while the service runs: the lock, the keyring, the clock, its own certificate,
//! the enrolment volumes.

use crate::clock::Clock;
use crate::config;
use crate::domain::enrolment::EnrolmentTokens;
use crate::domain::keyring::Keyring;
use crate::domain::profile::Request;
use crate::error::Error;
use crate::issuer::Issuer;
use crate::store::enrolment::Volume;
use crate::store::folder::{self, StateLock};
use crate::store::keyring;
use crate::store::state::{Seal, State};
use sextant_identity::{Credentials, Identity, KeyPair, ServiceName, TrustBundle};
use sextant_kit::backoff::Backoff;
use sextant_kit::{Context, Task};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::watch;

/// How often the time of day is looked at. Timers alone would sleep through a clock that jumps or a machine that
/// was suspended.
const TICK: Duration = Duration::from_secs(2);

/// Takes the state folder, waiting while another process has it.
pub(super) async fn state_lock(state: &Path, ctx: &Context) -> Result<StateLock, Error> {
    let task = ctx.readiness.task("state folder");
    loop {
        match folder::lock(state) {
            Ok(lock) => {
                task.ready();
                return Ok(lock);
            }
            Err(error @ Error::Locked(_)) => task.waiting(error.to_string()),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Opens the keyring, or makes it; waits while the hosting cluster, if it is there, can't be asked.
pub(super) async fn keyring(
    state: &dyn State,
    seal: &dyn Seal,
    clock: &Clock,
    ctx: &Context,
) -> Result<Keyring, Error> {
    let task = ctx.readiness.task("keyring");
    let mut backoff = Backoff::default();
    loop {
        match keyring::open_or_create(state, seal, clock.now()).await {
            Ok(keyring) => {
                task.ready();
                return Ok(keyring);
            }
            Err(error @ Error::Hosting(_)) => task.waiting(error.to_string()),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Waits until the clock has reached the authorities' validity, and from then on says on `/readyz` when it is
/// set back before it.
pub(super) async fn clock(valid_from: i64, clock: Clock, ctx: &Context) {
    let task = ctx.readiness.task("clock");
    while !clock_is_right(valid_from, &clock, &task) {
        tokio::time::sleep(TICK).await;
    }
    ctx.drain.spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            clock_is_right(valid_from, &clock, &task);
        }
    });
}

fn clock_is_right(valid_from: i64, clock: &Clock, task: &Task) -> bool {
    let now = clock.now();
    if now < valid_from {
        task.waiting(Error::ClockBehind { now, valid_from }.to_string());
        return false;
    }
    task.ready();
    true
}

/// cert-authority's own mesh certificate, from the same table and in the same log as any other; renewed at half
/// life.
pub(super) async fn own_certificate(
    issuer: Issuer,
    clock: Clock,
    ctx: &Context,
    trust: watch::Sender<Arc<TrustBundle>>,
) -> Result<watch::Receiver<Arc<Credentials>>, Error> {
    let task = ctx.readiness.task("own certificate");
    let first = loop {
        match issue_own(&issuer).await {
            Ok(credentials) => break credentials,
            Err(error @ Error::LogWrite { .. }) => task.waiting(error.to_string()),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(TICK).await;
    };
    task.ready();
    let (sender, receiver) = watch::channel(Arc::new(first));
    ctx.drain.spawn(async move {
        // Whoever changes the anchors will hold this; until then it keeps the watch open.
        let _trust = trust;
        loop {
            tokio::time::sleep(TICK).await;
            if is_fresh(&sender.borrow(), clock.now()) {
                continue;
            }
            match issue_own(&issuer).await {
                Ok(credentials) => {
                    sender.send_replace(Arc::new(credentials));
                    task.ready();
                }
                Err(error) => task.waiting(error.to_string()),
            }
        }
    });
    Ok(receiver)
}

async fn issue_own(issuer: &Issuer) -> Result<Credentials, Error> {
    let key = KeyPair::generate()?;
    let request = Request::own_mesh(Identity::Service(ServiceName::CertAuthority));
    let signed = issuer.issue(&request, &key.csr_der()?).await?;
    Ok(Credentials::new(vec![signed.der], key)?)
}

/// Before half life, and not from the future.
fn is_fresh(credentials: &Credentials, now: i64) -> bool {
    let unix = |time: std::time::SystemTime| {
        time.duration_since(UNIX_EPOCH).map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
    };
    let (start, end) = (unix(credentials.not_before), unix(credentials.not_after));
    (start..start + (end - start) / 2).contains(&now)
}

/// The enrolment volumes.
pub(super) struct Enrolment {
    volumes: Vec<(Volume, Task)>,
    tokens: EnrolmentTokens,
    anchor: String,
    /// Seconds.
    life: i64,
}

impl Enrolment {
    /// A volume for each of `identities`, with a token and the `anchor` (PEM) to pin.
    pub(super) fn new(
        config: &config::Enrolment,
        identities: Vec<(String, Identity)>,
        tokens: &EnrolmentTokens,
        anchor: String,
        ctx: &Context,
    ) -> Self {
        let volumes = identities.into_iter().map(|(name, identity)| {
            let task = ctx.readiness.task(format!("enrolment volume {name}"));
            (Volume::new(&config.folder, &name, identity), task)
        });
        Self {
            volumes: volumes.collect(),
            tokens: tokens.clone(),
            anchor,
            life: config.life_seconds,
        }
    }

    /// Keeps every volume fresh; each says for itself what it lacks.
    pub(super) async fn keep(mut self, clock: Clock) {
        loop {
            let now = clock.now();
            let refreshed = tokio::task::spawn_blocking(move || {
                self.refresh(now);
                self
            });
            // Only a stopping runtime drops blocking work.
            let Ok(back) = refreshed.await else { return };
            self = back;
            tokio::time::sleep(TICK).await;
        }
    }

    fn refresh(&mut self, now: i64) {
        for (volume, task) in &mut self.volumes {
            match volume.refresh(&self.tokens, &self.anchor, self.life, now) {
                Ok(()) => task.ready(),
                Err(error) => task.waiting(error.to_string()),
            }
        }
    }
}
