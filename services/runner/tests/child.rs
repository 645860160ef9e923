//! Supervised children, tried on real processes.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

use std::{path::Path, time::Duration};

use sextant_runner::child::{Child, Signal, Spec, State, Status};
use tokio::{sync::watch, time::timeout};

fn sleeper(name: &str, seconds: &str) -> Spec {
    Spec::new(name, "/bin/sleep")
        .arguments([seconds])
        .grace(Duration::from_secs(5))
}

fn shell(name: &str, script: &str) -> Spec {
    Spec::new(name, "/bin/sh")
        .arguments(["-c", script])
        .grace(Duration::from_secs(5))
        .restart(Duration::from_millis(1), Duration::from_millis(4))
}

async fn until(
    status: &mut watch::Receiver<Status>,
    what: &str,
    condition: impl FnMut(&Status) -> bool,
) -> Status {
    let last = status.clone();
    let found = timeout(Duration::from_secs(20), status.wait_for(condition)).await;
    match found {
        Ok(Ok(found)) => found.clone(),
        Ok(Err(_)) => panic!("the supervision ended before {what}"),
        Err(_) => panic!("no {what} within 20 s; last: {:?}", *last.borrow()),
    }
}

async fn running(status: &mut watch::Receiver<Status>) -> u32 {
    until(status, "running process", |status| status.pid().is_some())
        .await
        .pid()
        .unwrap()
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}

#[tokio::test]
async fn runs_until_stopped() {
    let child = Child::supervise(sleeper("sleeper", "600"));
    let mut status = child.status();
    let pid = running(&mut status).await;
    assert!(alive(pid));
    child.stop().await;
    assert_eq!(status.borrow().state, State::Stopped);
    assert!(!alive(pid));
    // Whatever is asked of a stopped child answers at once.
    child.stop().await;
    child.signal(Signal::HUP).await;
}

#[tokio::test]
async fn a_crash_loop_is_counted_and_paused() {
    let child = Child::supervise(shell("crashing", "exit 7"));
    let mut status = child.status();
    let seen = until(&mut status, "five crashes", |status| status.crashes >= 5).await;
    let State::BackOff { reason, pause } = seen.state else {
        panic!("not waiting: {seen:?}")
    };
    assert_eq!(reason, "crashing ended with exit code 7");
    assert!(pause <= Duration::from_millis(4), "{pause:?}");
    child.stop().await;
    assert_eq!(status.borrow().state, State::Stopped);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let child = Child::supervise(Spec::new("missing", "/nowhere/program"));
    let mut status = child.status();
    let seen = until(&mut status, "failure", |status| status.crashes == 1).await;
    assert!(
        seen.to_string().starts_with("starting /nowhere/program: "),
        "{seen}"
    );
    // A pause of half a second at least: the stop doesn't wait for it.
    child.stop().await;
}

#[tokio::test]
async fn a_killed_process_comes_back_as_another() {
    let child = Child::supervise(sleeper("killed", "600").restart(Duration::ZERO, Duration::ZERO));
    let mut status = child.status();
    let first = running(&mut status).await;
    child.signal(Signal::KILL).await;
    let second = until(&mut status, "second process", |status| {
        status.crashes == 1 && status.pid().is_some_and(|pid| pid != first)
    });
    let second = second.await.pid().unwrap();
    assert!(!alive(first) && alive(second));
    child.stop().await;
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let script = format!(
        "trap '' TERM; echo > {}; while :; do sleep 600; done",
        ready.display()
    );
    let child = Child::supervise(shell("stubborn", &script).grace(Duration::from_millis(100)));
    let mut status = child.status();
    let pid = running(&mut status).await;
    exists(&ready).await;
    timeout(Duration::from_secs(10), child.stop())
        .await
        .expect("stopped by SIGKILL");
    assert!(!alive(pid));
}

#[tokio::test]
async fn replacing_stops_the_old_before_the_new_starts() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("lock");
    // mkdir fails while the other one holds it; the trap gives it back only after a moment of work.
    let script = format!(
        "mkdir {0} || exit 1; trap 'sleep 0.2; rmdir {0}; exit 0' TERM; while :; do sleep 0.05; done",
        lock.display()
    );
    let child = Child::supervise(shell("holder", &script));
    let mut status = child.status();
    let first = running(&mut status).await;
    exists(&lock).await;
    child
        .replace(shell("holder", &format!(": new; {script}")))
        .await;
    let second = running(&mut status).await;
    assert_ne!(first, second);
    exists(&lock).await;
    assert_eq!(status.borrow().crashes, 0);
    child.stop().await;
}

#[tokio::test]
async fn dropping_the_handle_stops_the_process() {
    let child = Child::supervise(sleeper("dropped", "600"));
    let mut status = child.status();
    let pid = running(&mut status).await;
    drop(child);
    until(&mut status, "stop", |status| status.state == State::Stopped).await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_surviving_process_is_adopted_with_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    // It writes to its output on USR1, and would end by SIGPIPE or an error if nothing held the other end.
    let ready = folder.path().join("ready");
    let script = format!(
        "trap 'echo line && echo > {}' USR1; echo > {}; while :; do sleep 0.05; done",
        seen.display(),
        ready.display()
    );
    let spec = shell("survivor", &script).survives(folder.path());
    let first = Child::supervise(spec.clone());
    let pid = running(&mut first.status()).await;
    exists(&ready).await;
    first.detach().await;
    assert!(alive(pid));

    let second = Child::supervise(spec.clone());
    let mut status = second.status();
    let state = until(&mut status, "adoption", |status| status.pid().is_some())
        .await
        .state;
    assert_eq!(state, State::Running { pid, adopted: true });
    second.signal(Signal::USR1).await;
    exists(&seen).await;

    // Dropped, not stopped: it lives on. Another command line takes its place.
    drop(second);
    until(&mut status, "end of supervision", |status| {
        status.state == State::Stopped
    })
    .await;
    assert!(alive(pid));
    let third = Child::supervise(shell("survivor", "sleep 600").survives(folder.path()));
    let other = running(&mut third.status()).await;
    assert!(other != pid && !alive(pid));
    third.stop().await;
    assert!(!alive(other));
}

#[tokio::test]
async fn a_stranger_with_the_recorded_id_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::process::id();
    let record = format!(r#"{{"pid":{own},"started_ticks":1,"command":[],"environment":[]}}"#);
    std::fs::write(folder.path().join("stranger.pid"), record).unwrap();
    let child = Child::supervise(sleeper("stranger", "600").survives(folder.path()));
    let pid = running(&mut child.status()).await;
    assert_ne!(pid, own);
    child.stop().await;
}

async fn exists(path: &Path) {
    let found = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), found)
        .await
        .unwrap_or_else(|_| panic!("{} didn't appear within 20 s", path.display()));
}
