//! Reaping of orphans, for a process that is PID 1 (or a subreaper).

use std::{
    collections::HashSet,
    io,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Processes that somebody here waits for. Held while a process is started, so that one that ends at once is
/// never taken for an orphan.
static WAITED_FOR: LazyLock<Mutex<HashSet<u32>>> = LazyLock::new(Mutex::default);

fn waited_for() -> MutexGuard<'static, HashSet<u32>> {
    WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts `command` so that [`reap_orphans`] leaves its exit status to the caller.
pub(super) fn spawn(command: &mut tokio::process::Command) -> io::Result<tokio::process::Child> {
    let mut waited_for = waited_for();
    let child = command.spawn()?;
    waited_for.extend(child.id());
    Ok(child)
}

/// The exit status of `pid` was taken.
pub(super) fn forget(pid: u32) {
    waited_for().remove(&pid);
}

/// Reaps processes that were left to this one until the task is dropped. Without effect unless this process is PID
/// 1 or a subreaper. Every process started other than by [`super::Child`] would be reaped as well, so a program that
/// calls this starts all its processes there.
pub async fn reap_orphans() -> io::Result<()> {
    let mut child_ended = signal(SignalKind::child())?;
    loop {
        // A child that its supervisor hasn't taken yet hides the orphans behind it: look again soon.
        if reap_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            child_ended.recv().await;
        }
    }
}

/// Reaps orphans up to the first ended child that is waited for elsewhere; true when there is one.
fn reap_some() -> bool {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let waited_for = waited_for();
        let pid = match waitid(Id::All, peek) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => pid,
            // Nothing has ended, or there are no children.
            _ => return false,
        };
        if waited_for.contains(&pid.as_raw().unsigned_abs()) {
            return true;
        }
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => tracing::debug!(?status, "reaped an orphan"),
            Err(errno) => tracing::debug!(%pid, %errno, "an orphan was gone before it was reaped"),
        }
    }
}
