//! Starting: with everybody there, without them, and beside another replica.

use std::{fs, os::unix::fs::PermissionsExt, sync::atomic::Ordering};

use sextant_proto::externaljwt as jwt;
use sextant_testkit::eventually;

use crate::{DEADLINE, component, neighbours::socket, processes, read, surroundings};

#[tokio::test]
async fn starts_the_component_with_everything_it_needs_and_stops_it() {
    let Some(program) = component() else { return };
    let around = surroundings(
        &[],
        &[("a.yaml", "one", false), ("sub/b.yaml", "two", true)],
    )
    .await;
    let runner = around.run(&program);
    runner.ready().await;
    let running = processes(&around);
    assert_eq!(running.len(), 1, "{running:?}");
    assert!(
        running[0].1.contains("--advertise-address=127.0.0.1 "),
        "{running:?}"
    );
    assert_eq!(read(&around, "config/a.yaml"), "one");
    assert_eq!(read(&around, "config/sub/b.yaml"), "two");
    for name in [
        "apiserver",
        "client",
        "datastore",
        "kubelet-client",
        "request-header-client",
    ] {
        assert!(
            read(&around, &format!("pki/{name}.crt")).contains("BEGIN CERTIFICATE"),
            "{name}"
        );
        let key = around.run_folder().join(format!("pki/{name}.key"));
        assert_eq!(
            fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
    }
    for name in [
        "cluster-client",
        "cluster-server",
        "datastore",
        "request-header",
    ] {
        let pem = read(&around, &format!("pki/{name}-ca.pem"));
        assert!(pem.contains("BEGIN CERTIFICATE"), "{name}");
    }
    for name in ["", "jwt.sock", "kms.sock", "egress.sock"] {
        let mode = fs::metadata(around.run_folder().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    runner.stop().await;
    assert_eq!(processes(&around), []);
}

#[tokio::test]
async fn starts_again_without_supervisor_and_token_service() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[("a.yaml", "one", false)]).await;
    let runner = around.run(&program);
    runner.ready().await;
    runner.stop().await;
    around.stop_others();
    fs::remove_dir_all(around.run_folder()).unwrap();

    let runner = around.run(&program);
    runner.ready().await;
    assert_eq!(processes(&around).len(), 1);
    assert_eq!(read(&around, "config/a.yaml"), "one");
    let mut signer = jwt::external_jwt_signer_client::ExternalJwtSignerClient::new(
        socket(&around, "jwt.sock").await,
    );
    let keys = signer
        .fetch_keys(jwt::FetchKeysRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(keys.keys[0].key_id, "kid");
    signer.metadata(jwt::MetadataRequest {}).await.unwrap();
    signer
        .sign(jwt::SignJwtRequest::default())
        .await
        .unwrap_err();
    runner.stop().await;
}

/// Kubernetes' rule of version skew: what is withheld isn't started, even where an earlier configuration was kept.
#[tokio::test]
async fn a_component_that_is_newer_than_an_api_server_waits() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;
    runner.stop().await;

    let reason = "waiting until every kube-apiserver has v1.38.0";
    around.withheld.send_replace(Some(reason));
    let runner = around.run(&program);
    // Questions are half a second apart at least, and the patience of a runner here is a second.
    let before = around.watched.load(Ordering::SeqCst);
    eventually(
        DEADLINE,
        "more questions than it has patience for",
        || async {
            let more = around.watched.load(Ordering::SeqCst) - before;
            if more > 4 { Ok(()) } else { Err(more) }
        },
    )
    .await;
    let waiting = runner.ctx.readiness.waiting();
    let told = waiting.iter().any(|one| one.reason.contains(reason));
    assert!(told, "{waiting:?}");
    assert_eq!(processes(&around), []);
    around.withheld.send_replace(None);
    runner.ready().await;
    assert_eq!(processes(&around).len(), 1);
    runner.stop().await;
}

#[tokio::test]
async fn what_was_kept_is_for_the_version_that_had_it() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;
    runner.stop().await;
    around.stop_others();

    let newer = around.folder.path().join("newer");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo v1.39.0 && exit\nexec {} \"$@\"\n",
        program.display()
    );
    fs::write(&newer, script).unwrap();
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o700)).unwrap();
    let runner = around.run(&newer);
    eventually(DEADLINE, "what it lacks", || async {
        let waiting = runner.ctx.readiness.waiting();
        let lacks = "nothing was kept for \"v1.39.0\"";
        let found = waiting.iter().any(|one| one.reason.contains(lacks));
        if found { Ok(()) } else { Err(waiting) }
    })
    .await;
    assert_eq!(processes(&around), []);
    runner.stop().await;
    let runner = around.run(&program);
    runner.ready().await;
    runner.stop().await;
}

#[tokio::test]
async fn replicas_on_one_volume_keep_what_they_need_apart() {
    let Some(program) = component() else { return };
    let around = surroundings(&["--x={{STATE_FOLDER}}/x"], &[]).await;
    let first = around.run(&program);
    first.ready().await;
    let state = around.folder.path().join("state");
    let running = processes(&around);
    let flag = format!("--x={}/x", state.display());
    assert!(running[0].1.contains(&flag), "{flag} isn't in {running:?}");

    let mut config = around.config(&program);
    config.run_folder = around.folder.path().join("run-2");
    let second = around.run_with(config);
    eventually(DEADLINE, "a configuration of its own", || async {
        let kept = state.join("replica-2/configuration.pb");
        fs::read(&kept).map(drop).map_err(|error| (kept, error))
    })
    .await;
    assert!(state.join("configuration.pb").exists());
    second.stop().await;
    first.stop().await;
}
