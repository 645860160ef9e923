//! HashKV is etcd's: the same checksum for the same history, at every revision, before and after compactions.

use super::{Etcd, support};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sextant_proto::etcd::etcdserverpb as pb;
use support::{Clients, Served, delete, put};

const SEEDS: u64 = 5;
const STEPS: usize = 120;

#[derive(Clone, Debug)]
enum Step {
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Compact(i64),
    Several(pb::TxnRequest),
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_kv_is_etcds() {
    let Some(binary) = std::env::var_os("TEST_ETCD") else {
        println!("SKIP TEST_ETCD names no etcd binary");
        return;
    };
    for seed in 0..SEEDS {
        let etcd = Etcd::start(binary.as_ref()).await;
        let (_folder, path) = support::store();
        let served = Served::start(&path).await;
        let mut theirs = Clients::connect(&etcd.url).await;
        let mut ours = served.clients().await;
        let mut random = StdRng::seed_from_u64(seed);
        let (mut newest, mut compacted) = (1, 0);
        for number in 0..STEPS {
            let step = next(&mut random, newest, compacted, number);
            newest = run(&mut theirs, step.clone()).await;
            assert_eq!(
                run(&mut ours, step.clone()).await,
                newest,
                "seed {seed}: {step:?}"
            );
            if let Step::Compact(revision) = step {
                compacted = revision;
            }
            // Of the revision of a compaction etcd tells what it kept from before it.
            let revision = random.random_range(compacted + 1..=newest.max(compacted + 1));
            if revision <= newest {
                let case = format!("seed {seed}, step {number}, {revision} of {newest}: {step:?}");
                let expected = hash(&mut theirs, revision).await;
                assert_eq!(hash(&mut ours, revision).await, expected, "{case}");
            }
        }
        served.stop().await;
    }
}

/// Transactions of several writes come last: of those that a compaction takes apart the order within them is lost.
fn next(random: &mut StdRng, newest: i64, compacted: i64, number: usize) -> Step {
    let key = |random: &mut StdRng| format!("k{}", random.random_range(0..8));
    let value = random.random_range(0..100).to_string();
    match random.random_range(0..10) {
        0 if number < STEPS / 2 && newest > compacted + 3 => {
            Step::Compact(random.random_range(compacted + 1..newest))
        }
        1 | 2 if number >= STEPS / 2 => {
            let ops = (0..4).map(|at| pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(put(
                    &format!("k{at}"),
                    &value,
                ))),
            });
            Step::Several(pb::TxnRequest {
                success: ops.collect(),
                ..pb::TxnRequest::default()
            })
        }
        3 | 4 => Step::Delete(delete(&key(random))),
        _ => Step::Put(put(&key(random), &value)),
    }
}

async fn run(clients: &mut Clients, step: Step) -> i64 {
    let header = match step {
        Step::Put(request) => clients.kv.put(request).await.unwrap().into_inner().header,
        Step::Delete(request) => {
            clients
                .kv
                .delete_range(request)
                .await
                .unwrap()
                .into_inner()
                .header
        }
        Step::Several(request) => clients.kv.txn(request).await.unwrap().into_inner().header,
        Step::Compact(revision) => {
            let physical = true;
            let request = pb::CompactionRequest { revision, physical };
            clients
                .kv
                .compact(request)
                .await
                .unwrap()
                .into_inner()
                .header
        }
    };
    support::revision(header)
}

/// Checksum, of which revision, compacted where.
async fn hash(clients: &mut Clients, revision: i64) -> (u32, i64, i64) {
    let request = pb::HashKvRequest { revision };
    let answer = clients
        .maintenance
        .hash_kv(request)
        .await
        .unwrap()
        .into_inner();
    (answer.hash, answer.hash_revision, answer.compact_revision)
}
