//! Orphans, in a process of its own: reaping concerns the whole process.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

use std::{fs, time::Duration};

use sextant_runner::child::{Child, Spec, State, reap_orphans};
use sextant_testkit::eventually;

const DEADLINE: Duration = Duration::from_secs(20);

/// State and name of every child of this process.
fn children() -> Vec<(char, String)> {
    let own = std::process::id().to_string();
    let parse = |stat: String| {
        let (head, tail) = stat.rsplit_once(')')?;
        let mut fields = tail.split_whitespace();
        let state = fields.next()?.chars().next()?;
        (fields.next()? == own).then(|| (state, head.split_once('(').unwrap().1.to_owned()))
    };
    let stats = fs::read_dir("/proc").unwrap().flatten();
    stats
        .filter_map(|entry| parse(fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

#[tokio::test]
async fn orphans_are_reaped_and_children_keep_their_exit_codes() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    tokio::spawn(reap_orphans());

    // Leaves an orphan behind every time, and ends with a code that the supervision must see.
    let crashing = Spec::new("crashing", "/bin/sh")
        .arguments(["-c", "(sleep 0.01 &); exit 7"])
        .restart(Duration::from_millis(1), Duration::from_millis(2));
    let crashing = Child::supervise(crashing);
    let mut status = crashing.status();
    let mut reasons = Vec::new();
    while reasons.len() < 50 {
        let crashes = u64::try_from(reasons.len()).unwrap();
        let now = status
            .wait_for(|status| status.crashes > crashes)
            .await
            .unwrap()
            .clone();
        if let State::BackOff { reason, .. } = now.state {
            reasons.push(reason);
        }
    }
    assert!(
        reasons
            .iter()
            .all(|reason| reason == "crashing ended with exit code 7"),
        "{reasons:?}"
    );
    crashing.stop().await;
    eventually(DEADLINE, "no child, dead or alive", || async {
        let left = children();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
