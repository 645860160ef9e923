//! Compaction: it goes on, tells the truth, gives space back and holds nobody up.

use crate::requests::put_op;
use crate::support::{self, Clients, Served};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::Code;

async fn compact(clients: &mut Clients, revision: i64) -> Result<(), tonic::Status> {
    let compaction = pb::CompactionRequest {
        revision,
        physical: true,
    };
    clients.kv.compact(compaction).await.map(drop)
}

/// Writes the same hundred keys `times` times; answers the newest revision.
async fn overwrite(clients: &mut Clients, times: usize, size: usize) -> i64 {
    let value = "v".repeat(size);
    let mut newest = 0;
    for _ in 0..times {
        let txn = pb::TxnRequest {
            success: (0..100)
                .map(|key| put_op(&format!("k{key:02}"), &value))
                .collect(),
            ..pb::TxnRequest::default()
        };
        let answer = clients.kv.txn(txn).await.unwrap().into_inner();
        newest = support::revision(answer.header);
    }
    newest
}

fn rows(path: &Path) -> i64 {
    let database = rusqlite::Connection::open(path).unwrap();
    let count = "SELECT count(*) FROM log";
    database.query_row(count, [], |row| row.get(0)).unwrap()
}

async fn size(clients: &mut Clients) -> i64 {
    let status = clients
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap();
    status.into_inner().db_size
}

#[tokio::test]
async fn kine_a_compaction_tells_what_came_of_it() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let newest = overwrite(&mut clients, 5, 10).await;
    compact(&mut clients, newest).await.unwrap();
    assert_eq!(rows(&path), 100);
    let again = compact(&mut clients, newest).await.unwrap_err();
    assert_eq!(again.code(), Code::OutOfRange);
    assert!(again.message().ends_with("has been compacted"), "{again}");
    let future = compact(&mut clients, newest + 1).await.unwrap_err();
    assert!(
        future.message().ends_with("is a future revision"),
        "{future}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn k3s_11269_compaction_goes_on_after_the_database_was_locked() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let newest = overwrite(&mut clients, 50, 10).await;
    // Somebody with sqlite3.
    let somebody = rusqlite::Connection::open(&path).unwrap();
    somebody.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut compacting = clients.clone();
    let compacting = tokio::spawn(async move { compact(&mut compacting, newest).await });
    // Longer than the store waits for a lock.
    let refused = clients.kv.put(support::put("k", "v")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    somebody.execute_batch("ROLLBACK").unwrap();
    match compacting.await.unwrap() {
        Ok(()) => {}
        Err(refused) => {
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
            compact(&mut clients, newest).await.unwrap();
        }
    }
    clients.put("k00", "v").await;
    assert_eq!(rows(&path), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn kine_582_steady_readers_do_not_make_the_log_grow() {
    let (folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    overwrite(&mut clients, 1, 10_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, mut kv) = (Arc::clone(&stop), clients.kv.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Of an old revision, so that it is read from the file.
                    let old = pb::RangeRequest {
                        revision: 2,
                        ..support::list("k")
                    };
                    kv.range(old).await.unwrap();
                }
            })
        })
        .collect();
    overwrite(&mut clients, 80, 10_000).await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    let size = folder.path().join("state.db-wal").metadata().unwrap().len();
    assert!(size < 56 << 20, "{size} bytes after 80 MB were written");
}

#[tokio::test(flavor = "multi_thread")]
async fn kine_613_writes_are_served_while_a_compaction_goes_on() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let newest = overwrite(&mut clients, 300, 10).await;
    let mut compacting = clients.clone();
    let compacting = tokio::spawn(async move { compact(&mut compacting, newest).await });
    let mut served_meanwhile = 0;
    while !compacting.is_finished() {
        clients.put("other", "v").await;
        served_meanwhile += 1;
    }
    compacting.await.unwrap().unwrap();
    assert!(served_meanwhile > 3, "{served_meanwhile} writes meanwhile");
}

#[tokio::test]
async fn k3s_12292_the_size_is_told_and_a_compaction_gives_space_back() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let newest = overwrite(&mut clients, 20, 10_000).await;
    let before = size(&mut clients).await;
    // The newest batch may not be counted yet.
    assert!(before > 18_000_000, "{before}");
    compact(&mut clients, newest).await.unwrap();
    eventually(Duration::from_secs(20), "space is given back", || {
        let mut clients = clients.clone();
        async move {
            match size(&mut clients).await {
                after if after < before / 2 => Ok(()),
                after => Err(format!("{after} of {before} bytes")),
            }
        }
    })
    .await;
}
