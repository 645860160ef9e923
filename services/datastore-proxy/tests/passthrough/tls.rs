//! TLS between datastore-proxy and the etcd.

use crate::etcd::{self, Etcd};
use crate::support::Served;
use datastore_proxy::app::Bound;
use datastore_proxy::passthrough::EtcdConfig;
use sextant_identity::Authority;
use sextant_kit::Context;
use sextant_testkit::{Root, eventually};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// Writes an authority, and a certificate of it with its key.
fn write_files(folder: &Path, root: &Root) {
    let wish = root.wish(Authority::Datastore).dns("localhost");
    let credentials = root.sign(wish.address(Ipv4Addr::LOCALHOST.into()));
    let ca = root.bundle().datastore_pem();
    std::fs::write(folder.join("ca.pem"), ca).unwrap();
    std::fs::write(folder.join("certificate.pem"), credentials.chain_pem()).unwrap();
    let key = credentials.key.private_key_pem();
    std::fs::write(folder.join("key.pem"), key.as_bytes()).unwrap();
}

fn etcd_flags(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--cert-file={}", path("certificate.pem")),
        format!("--key-file={}", path("key.pem")),
        format!("--trusted-ca-file={}", path("ca.pem")),
        "--client-cert-auth".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_anew_when_they_change() {
    let Some(binary) = etcd::binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &Root::new());
    let mut etcd = Etcd::start_with(&binary, 1, "https", &etcd_flags(folder.path())).await;
    let mut config = etcd::config(&etcd.members(), "/a");
    let file = |name: &str| folder.path().join(name);
    config.etcd = EtcdConfig {
        ca_file: file("ca.pem"),
        certificate_file: file("certificate.pem"),
        key_file: file("key.pem"),
    };
    let served = Served::start_with(config).await;
    let mut clients = served.clients().await;
    clients.put("k", "v").await;

    // Another authority on both sides.
    etcd.kill(0).await;
    write_files(folder.path(), &Root::new());
    etcd.revive(0).await;
    eventually(Duration::from_secs(30), "the etcd is reached again", || {
        let mut kv = clients.kv.clone();
        async move {
            let answer = kv.range(crate::support::get("k")).await;
            answer.map_err(|status| status.to_string())
        }
    })
    .await;

    // An etcd of an authority that isn't ours is none.
    std::fs::write(
        folder.path().join("ca.pem"),
        Root::new().bundle().datastore_pem(),
    )
    .unwrap();
    etcd.kill(0).await;
    etcd.revive(0).await;
    let refused = clients
        .kv
        .range(crate::support::get("k"))
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("TLS: invalid peer certificate"),
        "{refused}"
    );
    served.stop().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &Root::new());
    let file = |name: &str| folder.path().join(name);
    let missing = EtcdConfig {
        ca_file: file("nothing.pem"),
        ..EtcdConfig::default()
    };
    let half = EtcdConfig {
        ca_file: file("ca.pem"),
        key_file: file("key.pem"),
        ..EtcdConfig::default()
    };
    let cases = [
        (
            "10.0.0.1:2379",
            EtcdConfig::default(),
            "reached by TLS only",
        ),
        ("10.0.0.1:2379", missing, "nothing.pem"),
        ("10.0.0.1:2379", half, "go together"),
    ];
    for (members, etcd, expected) in cases {
        let mut config = etcd::config(members, "");
        config.etcd = etcd;
        let (ctx, _trigger) = Context::new();
        let Err(error) = Bound::bind(config, ctx).await else {
            panic!("{members} was taken");
        };
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
    }
}
