//! Members of the etcd that die and come back.

use crate::etcd::{self, Etcd, plane};
use crate::stream::{Stream, prefix};
use crate::support::{Clients, Served, get, put, revision};
use sextant_testkit::eventually;
use sextant_testkit::free_port;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::Code;

/// Writes that were acknowledged, by their revisions.
type Acknowledged = BTreeMap<i64, String>;

/// Writes until told to stop; errors must say that the etcd isn't there.
async fn write(served: &Served, writer: usize, stop: Arc<AtomicBool>) -> Acknowledged {
    let mut clients = served.clients().await;
    let mut done = Acknowledged::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("/x/{writer}/{number}");
        match clients.kv.put(put(&key, "v")).await {
            Ok(answer) => {
                done.insert(revision(answer.into_inner().header), key);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                let text = status.message();
                assert!(
                    text.contains("127.0.0.1") || text.starts_with("etcdserver"),
                    "{text}"
                );
            }
        }
    }
    done
}

/// Writes, has `harm` done, and checks that nothing acknowledged is lost: neither to readers nor to a watch that was
/// open all the time.
async fn survives(served: &Served, harm: impl AsyncFnOnce(&mut Clients)) {
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients, prefix("/x/", 0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = async {
        let writers = [0, 1, 2, 3].map(|writer| write(served, writer, Arc::clone(&stop)));
        let [one, two, three, four] = writers;
        let (one, two, three, four) = tokio::join!(one, two, three, four);
        [one, two, three, four]
            .into_iter()
            .flatten()
            .collect::<Acknowledged>()
    };
    let harming = async {
        harm(&mut clients).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (acknowledged, ()) = tokio::join!(writers, harming);
    let last = *acknowledged.keys().last().expect("something was written");
    let told: BTreeMap<i64, String> = stream
        .until(last)
        .await
        .into_iter()
        .map(|(k, r)| (r, k))
        .collect();
    for (revision, key) in &acknowledged {
        assert_eq!(told.get(revision), Some(key), "a watch missed it");
        let found = served.clients().await.get(key).await;
        assert_eq!(found.as_deref(), Some("v"), "{key} of {revision} is lost");
    }
}

/// Waits until a write gets through.
async fn writes_again(clients: &Clients) {
    eventually(Duration::from_secs(60), "writes get through", || {
        let mut kv = clients.kv.clone();
        async move {
            kv.put(put("/probe", "v"))
                .await
                .map_err(|status| status.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_starts_again_under_load_loses_nothing() {
    let Some(binary) = etcd::binary() else { return };
    let mut etcd = Etcd::start(&binary).await;
    let served = plane(&etcd, "/a").await;
    survives(&served, async |clients| {
        writes_again(clients).await;
        etcd.kill(0).await;
        let lost = clients.kv.range(get("/probe")).await.unwrap_err();
        assert_eq!(lost.code(), Code::Unavailable);
        assert!(
            lost.message().starts_with("no etcd answered (127.0.0.1:"),
            "{lost}"
        );
        etcd.revive(0).await;
        writes_again(clients).await;
    })
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_member_of_three_may_die() {
    let Some(binary) = etcd::binary() else { return };
    let mut etcd = Etcd::start_with(&binary, 3, "http", &[]).await;
    let served = plane(&etcd, "/a").await;
    survives(&served, async |clients| {
        for member in 0..3 {
            writes_again(clients).await;
            etcd.kill(member).await;
            writes_again(clients).await;
            etcd.revive(member).await;
        }
        writes_again(clients).await;
    })
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_is_not_noticed() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let members = format!("127.0.0.1:{},{}", free_port(), etcd.members());
    let served = Served::start_with(etcd::config(&members, "/a")).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients, prefix("/x/", 0)).await;
    let mut last = 0;
    for number in 0..200 {
        last = clients.put(&format!("/x/{number}"), "v").await;
        assert!(clients.get(&format!("/x/{number}")).await.is_some());
    }
    assert_eq!(stream.until(last).await.len(), 200);
    served.stop().await;
}
