//! The replica's lease: what it holds (sessions, leadership, restart permits) goes within seconds of its death.

use super::{Datastore, attempt};
use crate::error::Error;
use sextant_kit::backoff::Backoff;
use sextant_kit::{Drain, Task};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// A dead replica's leadership moves within this and the watch after it: under 5 s.
const TTL: Duration = Duration::from_secs(4);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Keeps a lease until drained and publishes its id; `None` while there is none. Revokes it at the end.
pub async fn run(store: Datastore, lease: watch::Sender<Option<i64>>, task: Task, drain: Drain) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut held = false;
    while !drain.is_draining() {
        let error = match drain.run(grant(&store)).await {
            None => break,
            Some(Err(error)) => error,
            Some(Ok(id)) => {
                backoff.reset();
                task.ready();
                held = true;
                lease.send_replace(Some(id));
                let lost = drain.run(keep(&store, id)).await;
                lease.send_replace(None);
                match lost {
                    Some(error) => error,
                    None => {
                        revoke(&store, id).await;
                        break;
                    }
                }
            }
        };
        let reason = format!("keeping this replica's lease: {error}");
        // The nodes that are connected stay so: only relays and leadership wait for the lease.
        match held {
            true => task.degraded(reason),
            false => task.waiting(reason),
        }
        if drain.run(sleep(backoff.next())).await.is_none() {
            break;
        }
    }
}

async fn grant(store: &Datastore) -> Result<i64, Error> {
    let mut client = store.client.lease_client();
    let seconds = i64::try_from(TTL.as_secs()).unwrap_or(i64::MAX);
    Ok(attempt("granting a lease", client.grant(seconds, None))
        .await?
        .id())
}

/// Renews until the lease is lost. A broken stream is opened again as long as the lease can still be alive.
async fn keep(store: &Datastore, id: i64) -> Error {
    let mut deadline = Instant::now() + TTL;
    let mut last = Error::Deadline("datastore: renewing the lease".into(), TTL.as_secs());
    while Instant::now() < deadline {
        match timeout_at(deadline, renew(store, id, &mut deadline)).await {
            Ok(Err(error @ Error::NoLease(_))) => return error,
            Ok(Err(error)) => last = error,
            Ok(Ok(())) | Err(_) => {}
        }
        sleep(Duration::from_millis(200)).await;
    }
    last
}

async fn renew(store: &Datastore, id: i64, deadline: &mut Instant) -> Result<(), Error> {
    let failed = |source| Error::Datastore {
        what: "renewing the lease".into(),
        source,
    };
    let mut client = store.client.lease_client();
    let (mut keeper, mut answers) = client.keep_alive(id).await.map_err(failed)?;
    loop {
        sleep(KEEP_ALIVE).await;
        let sent = Instant::now();
        keeper.keep_alive().await.map_err(failed)?;
        match timeout_at(*deadline, answers.message()).await {
            Ok(Ok(Some(answer))) if answer.ttl() > 0 => *deadline = sent + TTL,
            Ok(Ok(Some(_))) => return Err(Error::NoLease("renew it: the datastore let it expire")),
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(source)) => return Err(failed(source)),
        }
    }
}

async fn revoke(store: &Datastore, id: i64) {
    let mut client = store.client.lease_client();
    if let Err(error) = attempt("revoking the lease", client.revoke(id)).await {
        tracing::info!(%error, "the lease ends by itself");
    }
}
