//! The pure core against a model that keeps a whole map of keys per revision: random batches of random requests,
//! some of which fail to be stored, and compactions in between.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

use bytes::Bytes;
use datastore_proxy::domain::authz::Caller;
use datastore_proxy::domain::evaluate;
use datastore_proxy::domain::fault::Fault;
use datastore_proxy::domain::pending::{Pending, Values};
use datastore_proxy::domain::query;
use datastore_proxy::domain::range::KeyRange;
use datastore_proxy::domain::request::{
    Answer, Compare, Delete, Op, Put, Query, Relation, Target, Txn,
};
use datastore_proxy::domain::state::State;
use datastore_proxy::domain::version::Row;
use proptest::prelude::*;
use sextant_proto::etcd::mvccpb::KeyValue;
use std::collections::{BTreeMap, HashMap};

type Keys = BTreeMap<Bytes, KeyValue>;

/// What a store is, said as simply as possible.
#[derive(Clone)]
struct Model {
    revision: i64,
    at: BTreeMap<i64, Keys>,
}

impl Model {
    fn new() -> Self {
        Self {
            revision: 1,
            at: BTreeMap::from([(1, Keys::new())]),
        }
    }

    fn run(&mut self, txn: &Txn) -> (bool, Vec<Answer>) {
        let mut keys = self.at[&self.revision].clone();
        let next = self.revision + 1;
        let holds = txn.compares.iter().all(|compare| holds(&keys, compare));
        let ops = if holds { &txn.success } else { &txn.failure };
        let mut wrote = false;
        let mut answers = Vec::new();
        for op in ops {
            answers.push(match op {
                Op::Put(put) => {
                    let before = keys.get(&put.key).cloned();
                    let kv = KeyValue {
                        key: put.key.clone(),
                        value: put.value.clone().unwrap(),
                        lease: 0,
                        mod_revision: next,
                        create_revision: before.as_ref().map_or(next, |kv| kv.create_revision),
                        version: before.as_ref().map_or(1, |kv| kv.version + 1),
                    };
                    keys.insert(put.key.clone(), kv);
                    wrote = true;
                    Answer::Put {
                        revision: next,
                        prev_kv: before.filter(|_| put.prev_kv),
                    }
                }
                Op::Delete(delete) => {
                    let hit = |key: &Bytes| delete.range.contains(key);
                    let gone: Vec<KeyValue> =
                        keys.values().filter(|kv| hit(&kv.key)).cloned().collect();
                    keys.retain(|key, _| !hit(key));
                    wrote |= !gone.is_empty();
                    Answer::Delete {
                        revision: if wrote { next } else { next - 1 },
                        deleted: gone.len().try_into().unwrap(),
                        prev_kvs: if delete.prev_kv { gone } else { Vec::new() },
                    }
                }
                Op::Range(query) => {
                    let kvs: Vec<KeyValue> = keys
                        .values()
                        .filter(|kv| query.range.contains(&kv.key))
                        .cloned()
                        .collect();
                    Answer::Range(datastore_proxy::domain::request::RangeAnswer {
                        revision: if wrote { next } else { next - 1 },
                        count: kvs.len().try_into().unwrap(),
                        kvs,
                        more: false,
                    })
                }
                Op::Txn(_) => unreachable!("not generated"),
            });
        }
        if wrote {
            self.revision = next;
            self.at.insert(next, keys);
        }
        (holds, answers)
    }
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let found: Vec<&KeyValue> = keys
        .values()
        .filter(|kv| compare.range.contains(&kv.key))
        .collect();
    let none = KeyValue::default();
    let judged = if found.is_empty() {
        vec![&none]
    } else {
        found.clone()
    };
    judged.into_iter().all(|kv| {
        let ordering = match &compare.target {
            Target::Create(other) => kv.create_revision.cmp(other),
            Target::Lease(other) => kv.lease.cmp(other),
            Target::Mod(other) => kv.mod_revision.cmp(other),
            Target::Version(other) => kv.version.cmp(other),
            Target::Value(_) if found.is_empty() => return false,
            Target::Value(other) => kv.value.cmp(other),
        };
        match compare.relation {
            Relation::Equal => ordering.is_eq(),
            Relation::Greater => ordering.is_gt(),
            Relation::Less => ordering.is_lt(),
            Relation::NotEqual => ordering.is_ne(),
            Relation::Unknown => true,
        }
    })
}

/// Values as a log would hold them.
#[derive(Default)]
struct Log(HashMap<Row, Bytes>);

impl Values for Log {
    fn value(&self, row: Row) -> Result<Bytes, Fault> {
        self.0.get(&row).cloned().ok_or(Fault::Corrupt)
    }
}

/// A request, and whether storing it works.
type Request = (Txn, bool);

#[derive(Clone, Debug)]
struct Batch {
    requests: Vec<Request>,
    /// Compact that many revisions before the newest afterwards.
    compact: Option<i64>,
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "a\0", "ab", "b", "c", "d"]).prop_map(Bytes::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    let end = prop_oneof![3 => Just(Bytes::new()), 1 => Just(Bytes::from("\0")), 2 => key()];
    (key(), end).prop_map(|(key, end)| KeyRange::parse(key, end))
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2"]).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (key(), value(), any::<bool>()).prop_map(|(key, value, prev_kv)| {
            Op::Put(Put { key, value: Some(value), lease: Some(0), prev_kv })
        }),
        2 => (range(), any::<bool>())
            .prop_map(|(range, prev_kv)| Op::Delete(Delete { range, prev_kv })),
        2 => range().prop_map(|range| Op::Range(Query::new(range))),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..20_i64).prop_map(Target::Create),
        (0..20_i64).prop_map(Target::Mod),
        (0..4_i64).prop_map(Target::Version),
        (0..1_i64).prop_map(Target::Lease),
        value().prop_map(Target::Value),
    ];
    let relation = prop::sample::select(vec![
        Relation::Equal,
        Relation::Greater,
        Relation::Less,
        Relation::NotEqual,
        Relation::Unknown,
    ]);
    (range(), target, relation).prop_map(|(range, target, relation)| Compare {
        range,
        target,
        relation,
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let ops = || prop::collection::vec(op(), 0..4);
    let txn = (prop::collection::vec(compare(), 0..3), ops(), ops()).prop_map(
        |(compares, success, failure)| Txn {
            compares,
            success,
            failure,
        },
    );
    let requests = prop::collection::vec((txn, prop::bool::weighted(0.85)), 1..6);
    (requests, prop::option::weighted(0.2, 0..6_i64))
        .prop_map(|(requests, compact)| Batch { requests, compact })
}

fn read(state: &State, log: &Log, query: &Query) -> Result<Vec<KeyValue>, Fault> {
    let selection = query::select(state, query, true)?;
    let values = selection.rows(query).into_iter().map(|row| log.value(row));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(query::finish(selection, query, values).kvs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(batches in prop::collection::vec(batch(), 1..30)) {
        let caller = Caller::local();
        let (mut state, mut log, mut model) = (State::default(), Log::default(), Model::new());
        for Batch { requests, compact } in batches {
            let mut stored = Vec::new();
            let mut pending = Pending::new(&state, &log);
            for (txn, works) in requests {
                let (answer, changes) = evaluate::transaction(&mut pending, &txn, &caller).unwrap();
                let before = model.clone();
                let (succeeded, answers) = model.run(&txn);
                prop_assert_eq!((answer.succeeded, answer.answers), (succeeded, answers));
                prop_assert_eq!(answer.revision, model.revision);
                if works {
                    stored.push(changes);
                } else {
                    pending.undo(changes);
                    model = before;
                }
            }
            drop(pending);
            for changes in stored {
                let values = changes.writes.iter().map(|w| (w.version.row, w.value.clone()));
                log.0.extend(values);
                state.apply(&changes);
            }
            if let Some(behind) = compact
                && model.revision - behind > state.compacted
            {
                state.compacted = model.revision - behind;
                let mut from = Some(Bytes::new());
                while let Some(key) = from {
                    let step = state.index.compact(&key, 2, state.compacted);
                    step.dropped.iter().for_each(|row| drop(log.0.remove(row)));
                    from = step.next;
                }
            }
            prop_assert_eq!(state.revision, model.revision);
        }
        for (revision, keys) in &model.at {
            let query = Query { revision: *revision, ..Query::new(KeyRange::all()) };
            let found = read(&state, &log, &query);
            if *revision < state.compacted {
                prop_assert_eq!(found, Err(Fault::Compacted));
            } else {
                prop_assert_eq!(found, Ok(keys.values().cloned().collect::<Vec<_>>()));
            }
        }
    }
}
