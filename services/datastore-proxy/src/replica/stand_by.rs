//! Waiting for a turn to write, and following meanwhile.

use super::follow::follow;
use super::{Replicas, Writer};
use crate::domain::election::{LOOK, Observer, Term, Verdict};
use crate::store::replicated::Won;
use futures::future::BoxFuture;
use sextant_proto::datastore::replica_client::ReplicaClient;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Follows whoever writes until this replica is elected; `None` at the drain.
pub(super) async fn until_elected(replicas: &Arc<Replicas>) -> Option<Won> {
    let mut observer = Observer::default();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (applied, _) = watch::channel(0);
    let mut followed: Option<Term> = None;
    let mut following: BoxFuture<'_, ()> = Box::pin(std::future::pending());
    loop {
        let term = tokio::select! {
            () = replicas.drain.signaled() => return None,
            () = &mut following => continue,
            term = look(replicas, &mut ticks) => term,
        };
        let Some(term) = term else { continue };
        applied.send_replace(term.applied);
        if observer.observe(&term, Instant::now()) == Verdict::Campaign {
            match replicas.database.campaign(&term, &replicas.member).await {
                Ok(Some(won)) => return Some(won),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "campaigning failed"),
            }
        } else if followed.as_ref().is_none_or(|old| is_another(old, &term)) {
            tracing::info!(
                epoch = term.epoch,
                address = term.address,
                "another replica writes"
            );
            following = start(replicas, &term, applied.subscribe());
            followed = Some(term);
        }
    }
}

fn is_another(old: &Term, new: &Term) -> bool {
    (old.epoch, old.holder) != (new.epoch, new.holder)
}

async fn look(replicas: &Replicas, ticks: &mut tokio::time::Interval) -> Option<Term> {
    ticks.tick().await;
    match replicas.database.term().await {
        Ok(term) => Some(term),
        Err(error) => {
            tracing::warn!(%error, "who writes isn't known");
            None
        }
    }
}

/// Lets requests go to the holder of a term, and follows it.
fn start<'r>(
    replicas: &'r Arc<Replicas>,
    term: &Term,
    applied: watch::Receiver<i64>,
) -> BoxFuture<'r, ()> {
    if term.holder == replicas.member.id {
        // The answer to a campaign was lost; the term runs out.
        replicas.set_writer(Writer::Nobody);
        return Box::pin(std::future::pending());
    }
    let client = ReplicaClient::new((replicas.dial)(&term.address));
    replicas.set_writer(Writer::There {
        epoch: term.epoch,
        holder: term.holder,
        client: client.clone(),
    });
    Box::pin(follow(replicas, client, applied))
}
