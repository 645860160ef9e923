//! A term as the one who writes.

use super::follow;
use super::{Replicas, Writer};
use crate::domain::election::{BEAT, PATIENCE};
use crate::engine::writer::{self, End};
use crate::engine::{self, Engine, expiry};
use crate::store::replicated::Won;
use crate::store::{Log, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What every lease gets at least after somebody took over, in milliseconds: about as long as nobody could renew it.
const GRACE: i64 = 5000;
/// How long the writer may take to end; it waits for the database at most so long.
const END: Duration = Duration::from_secs(15);

/// Writes until somebody else does, or until the drain.
pub(super) async fn lead(replicas: &Arc<Replicas>, won: Won) {
    tracing::info!(epoch = won.epoch(), "elected: this replica writes now");
    let prepared = tokio::select! {
        prepared = prepare(replicas, &won) => prepared,
        _ = beat(replicas, &won) => Err(StoreError::Deposed),
    };
    match prepared {
        Ok(log) => write(replicas, &won, log).await,
        Err(error) => tracing::warn!(%error, "this replica can't write"),
    }
    replicas.set_writer(Writer::Nobody);
    if let Err(error) = replicas.database.resign(&won).await {
        tracing::debug!(%error, "the term runs out by itself");
    }
}

/// Brings the state here to the end of the log. Nobody else can commit any more: whoever had the term before either
/// committed before this one began or is refused.
async fn prepare(replicas: &Arc<Replicas>, won: &Won) -> Result<Box<dyn Log>, StoreError> {
    follow::catch_up(replicas, i64::MAX).await?;
    let leases = replicas.database.leases().await?;
    let alarms = replicas.database.alarms().await?;
    let shared = &replicas.shared;
    let last_row = {
        let now = shared.clock.now();
        let mut state = shared.state_mut();
        state.adopt(leases);
        state.alarms = alarms;
        state.leases.clamp(now);
        state.leases.stretch(now, GRACE);
        state.next_row - 1
    };
    let log = replicas.database.log(won, last_row).await?;
    if !replicas.database.beat(won, last_row).await? {
        return Err(StoreError::Deposed);
    }
    Ok(log)
}

async fn write(replicas: &Arc<Replicas>, won: &Won, log: Box<dyn Log>) {
    let (commands, queue) = engine::queue();
    let (end, mut ended) = oneshot::channel();
    let tell = move |why: End| {
        // Nobody listens when the process ends.
        let _ = end.send(why);
    };
    let guard = replicas.drain.guard();
    if let Err(error) = writer::start(Arc::clone(&replicas.shared), log, queue, guard, tell) {
        tracing::error!(%error, "the writer doesn't start");
        return;
    }
    let won = won.clone();
    replicas.set_writer(Writer::Here {
        commands,
        won: won.clone(),
    });
    tokio::select! {
        why = &mut ended => {
            tracing::warn!(?why, "this replica doesn't write any more");
            return;
        }
        why = beat(replicas, &won) => tracing::warn!(why, "this replica doesn't write any more"),
        () = expiry::run(Engine::of(Arc::clone(replicas))) => {}
        () = replicas.drain.signaled() => {}
    }
    // Takes its queue away; what waits in it is still answered.
    replicas.set_writer(Writer::Nobody);
    if tokio::time::timeout(END, ended).await.is_err() {
        tracing::error!("the writer doesn't end");
    }
}

/// Signs of life; returns why the term is over: it is somebody else's, or the database hasn't answered for so long that
/// others don't count on it any more.
async fn beat(replicas: &Replicas, won: &Won) -> &'static str {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let applied = replicas.shared.state().next_row - 1;
        match replicas.database.beat(won, applied).await {
            Ok(true) => heard = began,
            Ok(false) => return "another replica writes now",
            Err(error) => {
                tracing::warn!(%error, "no sign of life; it is tried again");
                if heard.elapsed() >= PATIENCE {
                    return "the database doesn't answer";
                }
            }
        }
    }
}
