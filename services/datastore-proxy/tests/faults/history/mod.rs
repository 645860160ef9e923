//! What clients saw, and whether a store that keeps its promises can have shown it to them.
//!
//! Every write carries a value that no other write has, and its answer names its revision. So nothing has to be
//! searched for: the log of all revisions says in which order the writes took effect, and each answer is compared
//! with it.

mod broken;
mod calls;
mod model;
mod watches;

use bytes::Bytes;
use model::Model;
use sextant_proto::etcd::mvccpb::{Event, KeyValue};

/// Nanoseconds since the run began.
pub type Time = u64;

/// A write: all of it in one revision, if each of `compares` holds.
#[derive(Clone, Debug)]
pub struct Write {
    pub begun: Time,
    pub ended: Time,
    /// Keys and the `mod_revision` that they must have.
    pub compares: Vec<(Bytes, i64)>,
    /// At least one, with a value that is unique in the history.
    pub puts: Vec<(Bytes, Bytes)>,
    pub deletes: Vec<Bytes>,
    pub outcome: Outcome,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Committed(i64),
    /// A condition did not hold at this revision, where the keys of the conditions were these.
    Conflict(i64, Vec<KeyValue>),
    /// It was not done, and will not be.
    Refused,
    /// No answer, or one that says nothing.
    Unknown,
}

/// A read of every key that begins with `prefix`.
#[derive(Clone, Debug)]
pub struct Read {
    pub begun: Time,
    pub ended: Time,
    pub prefix: &'static str,
    /// As of when; 0 is now.
    pub at: i64,
    /// The revision in the header.
    pub revision: i64,
    pub kvs: Vec<KeyValue>,
}

/// One watch, from its creation to its end.
#[derive(Clone, Debug)]
pub struct Watch {
    pub prefix: &'static str,
    pub start: i64,
    pub no_put: bool,
    pub prev_kv: bool,
    pub answers: Vec<Told>,
}

/// An answer of a watch. Without events it reports progress.
#[derive(Clone, Debug)]
pub struct Told {
    pub at: Time,
    /// The revision in the header.
    pub revision: i64,
    pub events: Vec<Event>,
}

impl Told {
    /// Up to here it leaves nothing to tell. The header alone says so only where there are no events: with them it
    /// may name a newer revision.
    pub fn through(&self) -> i64 {
        let newest = self.events.last().and_then(|event| event.kv.as_ref());
        newest.map_or(self.revision, |kv| kv.mod_revision)
    }
}

/// All that clients saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    pub watches: Vec<Watch>,
    /// Every change of every revision, in order, as the store told it in the end.
    pub log: Vec<Event>,
}

impl History {
    /// Everything that can't be.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let model = Model::of(&self.log, &mut found);
        calls::check(self, &model, &mut found);
        for watch in &self.watches {
            watches::check(watch, &model, &mut found);
        }
        found
    }
}
