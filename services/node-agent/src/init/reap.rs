//! Reaping.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Takes the status of every child that has ended; returns the agent's if it is among them.
pub(super) fn reap(agent: Option<Pid>) -> Option<WaitStatus> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return ended,
            Ok(status) if status.pid() == agent && agent.is_some() => ended = Some(status),
            Ok(_) => {}
        }
    }
}

/// Whether any child is left.
pub(super) fn is_alone() -> bool {
    matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Err(nix::errno::Errno::ECHILD)
    )
}
