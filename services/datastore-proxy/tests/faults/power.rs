//! The power fails. What the process did to its files is recorded; a disk that lost power holds everything that was
//! synced, and of the rest any part: any of the writes, any of their sectors.

mod disk;

use crate::server::Server;
use crate::support::Clients;
use crate::{seed, times};
use bytes::Bytes;
use datastore_proxy::domain::range::KeyRange;
use datastore_proxy::domain::state::State;
use datastore_proxy::store::sqlite::Claim;
use disk::Disk;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use sextant_testkit::eventually;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// More than the write-ahead log holds before it is copied into the database.
const WRITES: usize = 400;
const LARGEST: usize = 40_000;
/// Moments at which the power fails, for each time that other faults happen.
const CUTS: usize = 25;

type Keys = BTreeMap<Bytes, Bytes>;

/// A write that was acknowledged when the record was so long.
struct Acknowledged {
    recorded: usize,
    /// All keys after it.
    keys: Keys,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_power_cut_whole() {
    let Some(mut server) = Server::start_shimmed() else {
        return;
    };
    let seed = seed();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let acknowledged = write(&server, &mut rng).await;
    server.kill().await;
    let trace = std::fs::read(server.trace()).unwrap();
    let records = disk::parse(&trace);
    let syncs: Vec<usize> = (0..records.len())
        .filter(|at| records[*at].is_sync())
        .collect();
    assert!(syncs.len() > WRITES, "{} syncs were recorded", syncs.len());

    let mut cuts: Vec<usize> = (0..CUTS * times())
        .map(|_| match rng.random_ratio(1, 2) {
            true => syncs[rng.random_range(0..syncs.len())] + rng.random_range(0..2),
            false => rng.random_range(0..=records.len()),
        })
        .collect();
    cuts.sort_unstable();
    let mut disk = Disk::default();
    let mut done = 0;
    for cut in cuts {
        records[done..cut]
            .iter()
            .for_each(|record| disk.apply(record));
        done = cut;
        let recorded = cut.checked_sub(1).map_or(0, |last| records[last].end);
        let image = disk.cut(&mut rng);
        check(image.path(), recorded, &acknowledged, cut);
    }
}

/// One write after the other, so that what is acknowledged is always a beginning of them.
async fn write(server: &Server, rng: &mut StdRng) -> Vec<Acknowledged> {
    let url = server.url();
    let channel = eventually(Duration::from_secs(20), "it serves", || {
        let endpoint = tonic::transport::Channel::from_shared(url.clone()).unwrap();
        async move { endpoint.connect().await }
    })
    .await;
    let mut clients = Clients::over(channel);
    let recorded = || usize::try_from(server.trace().metadata().unwrap().len()).unwrap();
    let mut keys = Keys::new();
    let mut all = Vec::new();
    for number in 0..WRITES {
        let request = next(rng, number, &mut keys);
        let answer = clients.kv.txn(request).await.unwrap().into_inner();
        // The first revision is 1, of nothing.
        let revision = i64::try_from(number).unwrap() + 2;
        assert_eq!(answer.header.unwrap().revision, revision);
        all.push(Acknowledged {
            recorded: recorded(),
            keys: keys.clone(),
        });
        if number % 60 == 59 {
            let compaction = pb::CompactionRequest {
                revision: revision - 5,
                physical: true,
            };
            clients.kv.compact(compaction).await.unwrap();
        }
    }
    all
}

/// Puts a few keys, and deletes one; every one of these writes changes something.
fn next(rng: &mut StdRng, number: usize, keys: &mut Keys) -> pb::TxnRequest {
    let mut success = Vec::new();
    let mut add = |request| {
        success.push(pb::RequestOp {
            request: Some(request),
        });
    };
    let first = rng.random_range(0..20);
    for at in first..first + rng.random_range(1..4) {
        let size = rng.random_range(0..LARGEST);
        let put = pb::PutRequest {
            key: format!("/k/{at}").into(),
            value: format!("{number} {}", "v".repeat(size)).into(),
            ..pb::PutRequest::default()
        };
        keys.insert(put.key.clone(), put.value.clone());
        add(Request::RequestPut(put));
    }
    let other = Bytes::from(format!("/k/{}", (first + 10) % 20));
    if keys.remove(&other).is_some() {
        add(Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key: other,
            ..pb::DeleteRangeRequest::default()
        }));
    }
    pb::TxnRequest {
        success,
        ..pb::TxnRequest::default()
    }
}

/// Opens what is left, as the next start would.
fn check(image: &Path, recorded: usize, acknowledged: &[Acknowledged], cut: usize) {
    let opened = Claim::new(&image.join("state.db")).unwrap().open();
    let opened = opened.unwrap_or_else(|error| panic!("cut {cut}: {error}"));
    let state = &opened.loaded.state;
    let told = acknowledged
        .iter()
        .take_while(|write| write.recorded <= recorded)
        .count();
    let found = usize::try_from(state.revision).unwrap() - 1;
    assert!(
        found >= told,
        "cut {cut}: {told} writes were acknowledged, {found} are there"
    );
    // At most the one that was under way.
    assert!(found <= told + 1, "cut {cut}: {found} writes of {told}");
    let expected = found
        .checked_sub(1)
        .map_or_else(Keys::new, |last| acknowledged[last].keys.clone());
    assert!(
        keys(state, opened.reader.as_ref()) == expected,
        "cut {cut}: revision {} holds something else than was written",
        state.revision
    );
}

fn keys(state: &State, reader: &dyn datastore_proxy::store::Reader) -> Keys {
    let all = state.index.iter(&KeyRange::all(), state.revision);
    let (keys, rows): (Vec<Bytes>, Vec<i64>) =
        all.map(|(key, version)| (key.clone(), version.row)).unzip();
    let values = reader.values(&rows).unwrap();
    let value = |value: Option<Bytes>| value.expect("its value is there");
    keys.into_iter()
        .zip(values.into_iter().map(value))
        .collect()
}
