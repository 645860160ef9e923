//! The store against a real etcd.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

use std::{env, path::PathBuf, time::Duration};

use sextant_testkit::{Process, eventually, free_port};
use token_service::store::{EtcdKv, Kv};

/// etcd from $PATH, or where upstream components are built by hand.
fn etcd() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/tmp/bin".into()]);
    folders
        .map(|folder| folder.join("etcd"))
        .find(|program| program.exists())
}

#[tokio::test]
async fn reads_lists_and_swaps() {
    let Some(program) = etcd() else {
        println!("SKIP there is no etcd in $PATH");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let arguments = [
        "--data-dir",
        folder.path().to_str().unwrap(),
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &format!("default={peer}"),
    ];
    let _etcd = Process::spawn(&program, &arguments, &[]).unwrap();
    let kv = eventually(Duration::from_secs(30), "an answer of etcd", || async {
        let client = etcd_client::Client::connect([&client], None).await;
        let kv = EtcdKv::new(client.map_err(|error| error.to_string())?);
        kv.get("/a")
            .await
            .map(|_| kv.clone())
            .map_err(|error| error.to_string())
    })
    .await;

    assert!(kv.swap("/t/a", 0, Some(b"1".to_vec())).await.unwrap());
    assert!(!kv.swap("/t/a", 0, Some(b"2".to_vec())).await.unwrap());
    let found = kv.get("/t/a").await.unwrap().unwrap();
    assert_eq!(
        (found.key.as_str(), found.value.as_slice()),
        ("/t/a", b"1".as_slice())
    );
    assert!(
        kv.swap("/t/a", found.revision, Some(b"3".to_vec()))
            .await
            .unwrap()
    );
    assert!(!kv.swap("/t/a", found.revision, None).await.unwrap());
    // More than a page, with neighbours that don't belong to it.
    for index in 0..1200 {
        assert!(
            kv.swap(&format!("/t/b/{index:04}"), 0, Some(vec![0]))
                .await
                .unwrap()
        );
    }
    for neighbour in ["/t/b", "/t/b0", "/t/c"] {
        assert!(kv.swap(neighbour, 0, Some(vec![1])).await.unwrap());
    }
    let listed = kv.list("/t/b/").await.unwrap();
    assert_eq!(listed.len(), 1200);
    assert!(listed.is_sorted_by(|one, next| one.key < next.key));
    let found = kv.get("/t/a").await.unwrap().unwrap();
    assert!(kv.swap("/t/a", found.revision, None).await.unwrap());
    assert_eq!(kv.get("/t/a").await.unwrap(), None);
}
