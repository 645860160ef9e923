//! The runner between its neighbours, with a small program in the place of kube-apiserver.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use sextant_proto::{externaljwt as jwt, kms};
use sextant_testkit::eventually;
use support::{Surroundings, config};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::transport::{Channel, Endpoint};

const DEADLINE: Duration = Duration::from_secs(20);

/// The example `component`, which cargo builds beside the tests.
fn component() -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let found = own.parent()?.parent()?.join("examples/component");
    if !found.exists() {
        println!(
            "SKIP {} isn't there: cargo test builds it unless told --test",
            found.display()
        );
        return None;
    }
    Some(found)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Flags of a component that serves on a free port, with certificates below `folder`.
fn flags(folder: &Path, more: &[&str]) -> Vec<String> {
    let pki = folder.join("run/pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let mut flags = vec![
        format!("--secure-port={}", free_port()),
        "--advertise-address={{ADVERTISE_ADDRESS}}".to_owned(),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "cluster-client-ca.pem"),
    ];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    flags
}

/// Surroundings that want a component with these flags and files.
async fn surroundings(more: &[&str], files: &[(&str, &str, bool)]) -> Surroundings {
    let surroundings = Surroundings::new(config(Vec::new(), &[])).await;
    let flags = flags(surroundings.folder.path(), more);
    surroundings.wanted.send_replace(config(flags, files));
    surroundings
}

fn read(surroundings: &Surroundings, path: &str) -> String {
    fs::read_to_string(surroundings.run_folder().join(path)).unwrap_or_default()
}

/// Process ids of the component, of this test alone: its flags name this folder.
fn processes(surroundings: &Surroundings) -> Vec<(u32, String)> {
    let folder = surroundings.folder.path().display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let command = |pid: u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.contains(&folder)
            .then(|| (pid, line.replace('\0', " ")))
    };
    all.filter_map(|entry| command(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

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
async fn files_that_reload_are_replaced_under_the_running_component() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[("a.yaml", "one", false), ("b.yaml", "one", true)]).await;
    let runner = around.run(&program);
    runner.ready().await;
    let before = processes(&around);
    let flags = around.wanted.borrow().arguments.clone();
    around.wanted.send_replace(config(
        flags,
        &[("a.yaml", "one", false), ("b.yaml", "two", true)],
    ));
    eventually(DEADLINE, "the new file", || async {
        let found = read(&around, "config/b.yaml");
        if found == "two" { Ok(()) } else { Err(found) }
    })
    .await;
    assert_eq!(processes(&around), before);
    assert_eq!(around.asked.load(Ordering::SeqCst), 0);
    runner.stop().await;
}

#[tokio::test]
async fn a_restart_waits_for_its_turn_and_gives_it_back_when_ready() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[("a.yaml", "one", false), ("b.yaml", "one", true)]).await;
    let runner = around.run(&program);
    runner.ready().await;
    let before = processes(&around);
    let gate = around.folder.path().join("gate");
    let more = format!("--ready-file={}", gate.display());
    let flags = flags(around.folder.path(), &[&more]);
    around.wanted.send_replace(config(
        flags,
        &[("a.yaml", "two", false), ("b.yaml", "two", true)],
    ));
    // What reloads doesn't wait; what needs the restart does.
    eventually(
        DEADLINE,
        "the reloading file and a request for a turn",
        || async {
            let found = (
                read(&around, "config/b.yaml"),
                around.asked.load(Ordering::SeqCst),
            );
            if found == ("two".to_owned(), 1) {
                Ok(())
            } else {
                Err(found)
            }
        },
    )
    .await;
    assert_eq!(read(&around, "config/a.yaml"), "one");
    assert_eq!(processes(&around), before);

    around.turns.add_permits(1);
    let after = eventually(DEADLINE, "another process", || async {
        let found = processes(&around);
        let other = found.len() == 1 && found[0].0 != before[0].0;
        if other { Ok(found) } else { Err(found) }
    })
    .await;
    assert!(after[0].1.contains("--ready-file"), "{after:?}");
    assert_eq!(read(&around, "config/a.yaml"), "two");
    eventually(DEADLINE, "the failing check as the reason", || async {
        let waiting = runner.ctx.readiness.waiting();
        let found = waiting.iter().any(|one| one.reason.contains("file failed"));
        if found { Ok(()) } else { Err(waiting) }
    })
    .await;
    assert_eq!(around.turns.available_permits(), 0);
    fs::write(&gate, "").unwrap();
    eventually(DEADLINE, "the turn to come back", || async {
        let turns = around.turns.available_permits();
        if turns == 1 { Ok(()) } else { Err(turns) }
    })
    .await;
    runner.ready().await;
    runner.stop().await;
}

#[tokio::test]
async fn a_configuration_that_breaks_the_component_is_replaced_by_one_that_works() {
    let Some(program) = component() else { return };
    let around = surroundings(&["--fail"], &[]).await;
    let runner = around.run(&program);
    eventually(DEADLINE, "a crash as the reason", || async {
        let waiting = runner.ctx.readiness.waiting();
        let found = waiting
            .iter()
            .any(|one| one.reason.contains("ended with exit code 1"));
        if found { Ok(()) } else { Err(waiting) }
    })
    .await;
    // No turn is there, and none is needed: nothing runs that could be taken away.
    let flags = flags(around.folder.path(), &[]);
    around.wanted.send_replace(config(flags, &[]));
    runner.ready().await;
    runner.stop().await;
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

#[tokio::test]
async fn a_file_outside_of_the_folder_is_refused() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;
    let before = processes(&around);
    let flags = around.wanted.borrow().arguments.clone();
    around
        .wanted
        .send_replace(config(flags.clone(), &[("../x", "1", true)]));
    around
        .wanted
        .send_replace(config(flags, &[("good", "1", true)]));
    eventually(DEADLINE, "the good file", || async {
        let found = read(&around, "config/good");
        if found == "1" { Ok(()) } else { Err(found) }
    })
    .await;
    assert!(!around.run_folder().join("x").exists());
    assert_eq!(processes(&around), before);
    runner.stop().await;
}

async fn socket(around: &Surroundings, name: &str) -> Channel {
    let path = around.run_folder().join(name);
    let connect = move |_| {
        let path = path.clone();
        async move {
            UnixStream::connect(path)
                .await
                .map(hyper_util::rt::TokioIo::new)
        }
    };
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint
        .connect_with_connector(tower::service_fn(connect))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_sockets_lead_to_the_neighbours() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;

    let mut signer = jwt::external_jwt_signer_client::ExternalJwtSignerClient::new(
        socket(&around, "jwt.sock").await,
    );
    let claims = "e30".to_owned();
    let signed = signer
        .sign(jwt::SignJwtRequest { claims })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(signed.signature, "signed-e30");

    let mut kms = kms::key_management_service_client::KeyManagementServiceClient::new(
        socket(&around, "kms.sock").await,
    );
    let plaintext = vec![1, 2, 3].into();
    let request = kms::EncryptRequest {
        plaintext,
        ..Default::default()
    };
    let encrypted = kms.encrypt(request).await.unwrap().into_inner();
    let request = kms::DecryptRequest {
        ciphertext: encrypted.ciphertext,
        ..kms::DecryptRequest::default()
    };
    assert_eq!(
        &*kms.decrypt(request).await.unwrap().into_inner().plaintext,
        [1, 2, 3]
    );
    runner.stop().await;
}

/// Sends `request` to the egress socket; the connection and the head of the answer.
async fn ask(around: &Surroundings, request: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(around.run_folder().join("egress.sock"))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn connect_carries_bytes_both_ways_and_passes_the_end_on() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;
    // As kube-apiserver asks.
    let (mut stream, head) = ask(
        &around,
        "CONNECT echo:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(sending, reader.read_to_end(&mut received));
    read.unwrap();
    assert!(
        received
            .strip_suffix(b"bye")
            .is_some_and(|echoed| echoed == sent)
    );

    let (_, head) = ask(&around, "CONNECT node-9:10250 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 502 no such node\r\n"), "{head}");
    let (_, head) = ask(&around, "CONNECT node-9 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let (_, head) = ask(&around, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    runner.stop().await;
}
