//! Starting in bad circumstances.

use crate::harness::{DEADLINE, Running, Volumes};
use cert_authority::app::Bound;
use cert_authority::clock::Clock;
use sextant_kit::Context;
use sextant_testkit::eventually;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_before_the_authorities_is_waited_for() {
    let volumes = Volumes::new();
    Running::start(&volumes).await.stop().await;

    let offset = Arc::new(AtomicI64::new(-24 * 3600));
    let clock = {
        let (offset, system) = (Arc::clone(&offset), Clock::system());
        Clock::new(move || system.now() + offset.load(Ordering::Relaxed))
    };
    let (ctx, trigger) = Context::new();
    let starting = tokio::spawn(Bound::bind(volumes.config(), ctx.clone(), clock));
    eventually(DEADLINE, "the clock is named", || async {
        let waiting = ctx.readiness.waiting();
        let named = waiting
            .iter()
            .any(|w| w.name == "clock" && w.reason.contains("set the clock"));
        if named { Ok(()) } else { Err(waiting) }
    })
    .await;
    offset.store(0, Ordering::Relaxed);
    starting.await.unwrap().unwrap();
    trigger.start();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_enrolment_volume_is_named_and_the_others_are_served() {
    let volumes = Volumes::new();
    let (admin, aside) = (
        volumes.path().join("enrol/admin"),
        volumes.path().join("aside"),
    );
    std::fs::rename(&admin, &aside).unwrap();
    let (ctx, trigger) = Context::new();
    let bound = Bound::bind(volumes.config(), ctx.clone(), Clock::system())
        .await
        .unwrap();
    eventually(DEADLINE, "only admin's volume is waited for", || async {
        match ctx.readiness.waiting().as_slice() {
            [one] if one.name.contains("admin") && one.reason.contains("mount") => Ok(()),
            other => Err(other.to_vec()),
        }
    })
    .await;
    assert!(volumes.path().join("enrol/supervisor/token").exists());
    std::fs::rename(&aside, &admin).unwrap();
    tokio::time::timeout(DEADLINE, ctx.readiness.ready())
        .await
        .unwrap();
    trigger.start();
    drop(bound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_volume_waits_for_the_first() {
    let volumes = Volumes::new();
    let first = Running::start(&volumes).await;
    let (ctx, trigger) = Context::new();
    let second = tokio::spawn(Bound::bind(volumes.config(), ctx.clone(), Clock::system()));
    eventually(DEADLINE, "the second says why it waits", || async {
        let waiting = ctx.readiness.waiting();
        let named = waiting
            .iter()
            .any(|w| w.reason.contains("another cert-authority"));
        if named { Ok(()) } else { Err(waiting) }
    })
    .await;
    first.stop().await;
    second.await.unwrap().unwrap();
    trigger.start();
}

/// The real process, killed as soon as a file of its first start appears.
#[test]
fn killed_at_any_moment_of_its_first_start_it_starts_again() {
    let files = [
        "seal/.seal.key.new",
        "seal/seal.key",
        "state/.keyring.sealed.new",
        "state/keyring.sealed",
        "state/issued.log",
        "enrol/admin/ca.pem",
        "enrol/admin/token",
    ];
    for file in files {
        let volumes = Volumes::new();
        let mut first = spawn(&volumes);
        // Some files live for microseconds only; the next one does as well.
        let seen = [
            volumes.path().join(file),
            volumes.path().join("enrol/admin/token"),
        ];
        wait(&mut first, || seen.iter().any(|path| path.exists()));
        first.kill().unwrap();
        first.wait().unwrap();
        let keyring = volumes.path().join("state/keyring.sealed");
        let before = std::fs::read(&keyring).ok();
        let tokens: Vec<PathBuf> = volumes
            .config()
            .enrolment
            .identities
            .iter()
            .flatten()
            .map(|name| volumes.path().join("enrol").join(name).join("token"))
            .collect();
        for token in &tokens {
            let _ = std::fs::remove_file(token);
        }
        let mut second = spawn(&volumes);
        wait(&mut second, || tokens.iter().all(|path| path.exists()));
        second.kill().unwrap();
        second.wait().unwrap();
        if let Some(before) = before {
            assert_eq!(std::fs::read(&keyring).unwrap(), before, "killed at {file}");
        }
    }
}

fn spawn(volumes: &Volumes) -> Child {
    let config = volumes.config();
    let set = |key: &str, value: String| ["--set".to_owned(), format!("{key}={value}")];
    let settings = [
        set("common.admin_listen", "127.0.0.1:0".to_owned()),
        set("listen", "127.0.0.1:0".to_owned()),
        set("state_folder", config.state_folder.display().to_string()),
        set("seal_folder", config.seal_folder.display().to_string()),
        set(
            "enrolment.folder",
            config.enrolment.folder.display().to_string(),
        ),
        set(
            "enrolment.identities",
            format!("[{}]", config.enrolment.identities.unwrap().join(",")),
        ),
    ];
    Command::new(env!("CARGO_BIN_EXE_cert-authority"))
        .args(settings.as_flattened())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait(child: &mut Child, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("it ended by itself: {status}");
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("not within {DEADLINE:?}");
        }
        std::thread::yield_now();
    }
}
