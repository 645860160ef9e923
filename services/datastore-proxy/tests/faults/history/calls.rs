//! Reads and writes: each took effect at one moment between its begin and its end.

use super::model::Model;
use super::{History, Outcome, Read, Time, Write};
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::Event;
use sextant_proto::etcd::mvccpb::event::EventType;
use std::collections::{BTreeMap, HashMap};

pub(super) fn check(history: &History, model: &Model, found: &mut Vec<String>) {
    let mut check = Check {
        model,
        seen: Seen::of(history),
        begun: BTreeMap::new(),
        found,
    };
    check.done(history);
    for write in &history.writes {
        check.answer(write);
    }
    for read in &history.reads {
        check.read(read);
    }
}

/// When each revision was known to somebody: nothing that begins later may be older.
struct Seen(BTreeMap<Time, i64>);

impl Seen {
    fn of(history: &History) -> Self {
        let writes = history
            .writes
            .iter()
            .filter_map(|write| match write.outcome {
                Outcome::Committed(revision) | Outcome::Conflict(revision, _) => {
                    Some((write.ended, revision))
                }
                Outcome::Refused | Outcome::Unknown => None,
            });
        let reads = history.reads.iter().map(|read| (read.ended, read.revision));
        let told = history.watches.iter().flat_map(|watch| &watch.answers);
        let told = told.map(|told| (told.at, told.revision));
        let mut seen: Vec<(Time, i64)> = writes.chain(reads).chain(told).collect();
        seen.sort_unstable();
        let mut newest = 0;
        let newest = seen.into_iter().map(|(at, revision)| {
            newest = newest.max(revision);
            (at, newest)
        });
        Self(newest.collect())
    }

    /// The newest revision that was seen before `time`.
    fn before(&self, time: Time) -> i64 {
        let last = self.0.range(..time).next_back();
        last.map_or(0, |(_, revision)| *revision)
    }
}

struct Check<'a> {
    model: &'a Model,
    seen: Seen,
    /// When the write of each revision began.
    begun: BTreeMap<i64, Time>,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    /// Every revision is one write, whole, in its place, and not one whose client was told that it wasn't done.
    fn done(&mut self, history: &History) {
        let writers: HashMap<&Bytes, usize> = (0..)
            .zip(&history.writes)
            .flat_map(|(at, write)| write.puts.iter().map(move |(_, value)| (value, at)))
            .collect();
        let mut done: HashMap<usize, i64> = HashMap::new();
        let model = self.model;
        for (revision, events) in &model.revisions {
            let mut values = events
                .iter()
                .filter_map(|event| Some(&event.kv.as_ref()?.value));
            let Some(at) = values.find_map(|value| writers.get(value)) else {
                self.violated(format!("revision {revision} was written by nobody"));
                continue;
            };
            let write = &history.writes[*at];
            self.begun.insert(*revision, write.begun);
            if let Some(first) = done.insert(*at, *revision) {
                self.violated(format!(
                    "done twice, in {first} and in {revision}: {write:?}"
                ));
            }
            self.done_in(write, *revision, events);
        }
    }

    fn done_in(&mut self, write: &Write, revision: i64, events: &[Event]) {
        if !is_all_of(write, events) {
            self.violated(format!("half done: {events:?} of {write:?}"));
        }
        if !self.holds(write, revision - 1) {
            self.violated(format!(
                "its conditions did not hold before {revision}: {write:?}"
            ));
        }
        let known = self.seen.before(write.begun);
        if known >= revision {
            self.violated(format!(
                "{revision} was written after {known} was seen: {write:?}"
            ));
        }
        match write.outcome {
            Outcome::Committed(told) if told != revision => {
                self.violated(format!("{revision} was acknowledged as {told}: {write:?}"));
            }
            Outcome::Conflict(..) | Outcome::Refused => {
                self.violated(format!("done in {revision}, told that not: {write:?}"));
            }
            Outcome::Committed(_) | Outcome::Unknown => {}
        }
    }

    fn holds(&self, write: &Write, revision: i64) -> bool {
        write.compares.iter().all(|(key, expected)| {
            let found = self.model.at(key, revision);
            found.map_or(0, |kv| kv.mod_revision) == *expected
        })
    }

    fn answer(&mut self, write: &Write) {
        match &write.outcome {
            Outcome::Committed(revision) if !self.model.revisions.contains_key(revision) => {
                self.violated(format!("acknowledged and lost: {write:?}"));
            }
            Outcome::Conflict(revision, kvs) => {
                self.moment(write.begun, write.ended, *revision, write);
                if self.holds(write, *revision) {
                    self.violated(format!("a conflict where there is none: {write:?}"));
                }
                let model = self.model;
                let keys = write.compares.iter().map(|(key, _)| key);
                if !keys.filter_map(|key| model.at(key, *revision)).eq(kvs) {
                    self.violated(format!("a conflict with what isn't there: {write:?}"));
                }
            }
            Outcome::Committed(_) | Outcome::Refused | Outcome::Unknown => {}
        }
    }

    fn read(&mut self, read: &Read) {
        self.moment(read.begun, read.ended, read.revision, read);
        let at = if read.at == 0 { read.revision } else { read.at };
        let expected = self.model.list(read.prefix, at);
        if expected != read.kvs {
            self.violated(format!("wrong: {read:?}, there was {expected:?}"));
        }
    }

    /// What was read at `revision` was the newest at some moment of the call.
    fn moment(&mut self, begun: Time, ended: Time, revision: i64, call: &dyn std::fmt::Debug) {
        let known = self.seen.before(begun);
        if revision < known {
            self.violated(format!("stale, {known} was seen before: {call:?}"));
        }
        if revision > self.model.newest {
            self.violated(format!("names a revision that is lost: {call:?}"));
        }
        if self
            .begun
            .get(&revision)
            .is_some_and(|write| *write > ended)
        {
            self.violated(format!("names a revision of the future: {call:?}"));
        }
    }

    fn violated(&mut self, what: String) {
        self.found.push(what);
    }
}

fn is_all_of(write: &Write, events: &[Event]) -> bool {
    let puts = write.puts.iter().map(|(key, value)| (key, Some(value)));
    let deletes = write.deletes.iter().map(|key| (key, None));
    let mut expected: Vec<(&Bytes, Option<&Bytes>)> = puts.chain(deletes).collect();
    let kvs = events.iter().filter_map(|event| {
        let kv = event.kv.as_ref()?;
        let is_put = event.r#type() == EventType::Put;
        Some((&kv.key, is_put.then_some(&kv.value)))
    });
    let mut done: Vec<(&Bytes, Option<&Bytes>)> = kvs.collect();
    expected.sort();
    done.sort();
    expected == done
}
