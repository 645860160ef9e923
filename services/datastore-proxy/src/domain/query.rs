//! Reading a range: which keys, in which order, how many.

use super::fault::Fault;
use super::range::KeyRange;
use super::request::{Query, RangeAnswer, SortOrder, SortTarget};
use super::state::State;
use super::version::{Row, Version};
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::KeyValue;
use std::cmp::Ordering;

/// Something that can be asked for keys: the state, or the state with a batch on top.
pub trait View {
    /// The newest revision.
    fn revision(&self) -> i64;
    /// Revisions below this one are forgotten.
    fn compacted(&self) -> i64;
    /// The version of `key` in force at `revision`.
    fn get(&self, key: &[u8], revision: i64) -> Option<Version>;
    /// Visits all keys of `range` that existed at `revision`, in order.
    fn scan(&self, range: &KeyRange, revision: i64, visit: &mut dyn FnMut(&Bytes, Version));
    /// The value of a row.
    fn value(&self, row: Row) -> Result<Bytes, Fault>;
}

/// Keys found, their values still in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// The store's revision when it was made.
    pub revision: i64,
    /// What was found, in order.
    pub hits: Vec<(Bytes, Version)>,
    /// Keys in the range, whatever the limit.
    pub count: i64,
    /// Whether the limit cut it.
    pub more: bool,
}

impl Selection {
    /// Rows whose values [`finish`] needs, in order.
    pub fn rows(&self, query: &Query) -> Vec<Row> {
        if query.keys_only && query.target != SortTarget::Value {
            return Vec::new();
        }
        self.hits.iter().map(|(_, version)| version.row).collect()
    }
}

/// Reads `query` from `state`.
pub fn select(state: &State, query: &Query, count: bool) -> Result<Selection, Fault> {
    let at = at(query, state.revision, state.compacted)?;
    let mut found = Selection {
        revision: state.revision,
        ..Selection::default()
    };
    if !query.count_only {
        found = select_with(state.revision, query, false, |visit| {
            if let Some(key) = query.range.as_key() {
                if let Some(version) = state.index.get(key, at) {
                    visit(key, *version);
                }
                return;
            }
            for (key, version) in state.index.iter(&query.range, at) {
                if !visit(key, *version) {
                    return;
                }
            }
        });
    }
    // What is ordered by value is cut once the values are there, so `more` isn't known yet.
    let is_cut = found.more || query.target == SortTarget::Value && query.limit > 0;
    if count && (is_cut || query.count_only) {
        found.count = i64::try_from(state.index.count(&query.range, at)).unwrap_or(i64::MAX);
    }
    Ok(found)
}

/// Reads `query` from a view, values included.
pub fn read(view: &dyn View, query: &Query) -> Result<RangeAnswer, Fault> {
    let at = at(query, view.revision(), view.compacted())?;
    let selection = select_with(view.revision(), query, true, |visit| {
        view.scan(&query.range, at, &mut |key, version| {
            visit(key, version);
        });
    });
    let values = selection.rows(query).into_iter().map(|row| view.value(row));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(finish(selection, query, values))
}

/// Whether `revision` can be read.
pub fn check_revision(revision: i64, newest: i64, compacted: i64) -> Result<(), Fault> {
    match revision {
        0 => Ok(()),
        revision if revision > newest => Err(Fault::FutureRevision),
        revision if revision < compacted => Err(Fault::Compacted),
        _ => Ok(()),
    }
}

/// Visits keys until told to stop by `false`.
type Visit<'v> = &'v mut dyn FnMut(&Bytes, Version) -> bool;

/// The revision that `query` asks for.
fn at(query: &Query, newest: i64, compacted: i64) -> Result<i64, Fault> {
    let revision = if query.revision > 0 {
        query.revision
    } else {
        newest
    };
    check_revision(revision, newest, compacted).map(|()| revision)
}

/// Picks keys from those that `scan` shows. With `count` it sees all of them, else only as many as the answer needs.
fn select_with(newest: i64, query: &Query, count: bool, scan: impl FnOnce(Visit<'_>)) -> Selection {
    let mut found = Selection {
        revision: newest,
        ..Selection::default()
    };
    let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0);
    let early = limit.filter(|_| query.is_default_order() && !query.is_filtered());
    scan(&mut |key, version| {
        found.count += 1;
        let full = early.is_some_and(|limit| found.hits.len() > limit);
        if !query.count_only && !full && holds(query, &version) {
            found.hits.push((key.clone(), version));
        }
        count || !full
    });
    sort(&mut found.hits, query);
    if query.target != SortTarget::Value {
        cut(&mut found.hits, limit, &mut found.more);
    }
    found
}

fn holds(query: &Query, version: &Version) -> bool {
    query.modified.hold(version.mod_revision) && query.created.hold(version.create_revision)
}

fn sort(hits: &mut [(Bytes, Version)], query: &Query) {
    let compare: fn(&(Bytes, Version), &(Bytes, Version)) -> Ordering = match query.target {
        SortTarget::Key if query.is_default_order() => return,
        // Sorted once the values are there.
        SortTarget::Value => return,
        SortTarget::Create => |a, b| a.1.create_revision.cmp(&b.1.create_revision),
        SortTarget::Key => |a, b| a.0.cmp(&b.0),
        SortTarget::Mod => |a, b| a.1.mod_revision.cmp(&b.1.mod_revision),
        SortTarget::Version => |a, b| a.1.version.cmp(&b.1.version),
    };
    if query.order == SortOrder::Descend {
        hits.sort_by(|a, b| compare(b, a));
    } else {
        hits.sort_by(compare);
    }
}

fn cut<T>(hits: &mut Vec<T>, limit: Option<usize>, more: &mut bool) {
    if let Some(limit) = limit
        && hits.len() > limit
    {
        hits.truncate(limit);
        *more = true;
    }
}

/// Puts keys and values together. `values` are those of [`Selection::rows`].
pub fn finish(selection: Selection, query: &Query, values: Vec<Bytes>) -> RangeAnswer {
    let Selection {
        revision,
        hits,
        count,
        mut more,
    } = selection;
    let mut values = values.into_iter();
    let mut kvs: Vec<KeyValue> = hits
        .into_iter()
        .map(|(key, version)| key_value(key, &version, values.next().unwrap_or_default()))
        .collect();
    if query.target == SortTarget::Value {
        match query.order {
            SortOrder::Descend => kvs.sort_by(|a, b| b.value.cmp(&a.value)),
            SortOrder::Ascend | SortOrder::None => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        }
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0);
        cut(&mut kvs, limit, &mut more);
    }
    if query.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeAnswer {
        revision,
        kvs,
        more,
        count,
    }
}

/// What the wire shows of a version.
pub fn key_value(key: Bytes, version: &Version, value: Bytes) -> KeyValue {
    KeyValue {
        key,
        value,
        create_revision: version.create_revision,
        mod_revision: version.mod_revision,
        version: version.version,
        lease: version.lease,
    }
}
