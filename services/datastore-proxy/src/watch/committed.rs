//! One revision as watches see it.

use crate::domain::state::Write;
use crate::domain::version::{Row, Version};
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::{Event, KeyValue, event::EventType};

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// After it.
    pub kv: KeyValue,
    /// Whether it deleted the key.
    pub deleted: bool,
    /// What was in force before; `None` if the key didn't exist, or if that isn't known any more.
    pub previous: Option<Previous>,
}

/// What was there before a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// Its version.
    pub version: Version,
    /// Its value, where that is in memory.
    pub value: Option<Bytes>,
}

impl Change {
    /// The change that a write made.
    pub fn of(key: Bytes, version: &Version, value: Bytes, previous: Option<Previous>) -> Self {
        let kv = crate::domain::query::key_value(key, version, value);
        Self {
            kv,
            deleted: version.is_tombstone(),
            previous,
        }
    }

    /// The row of the value before, where it has to be read.
    pub fn missing(&self) -> Option<Row> {
        let previous = self.previous.as_ref()?;
        previous.value.is_none().then_some(previous.version.row)
    }

    /// As the wire shows it. `previous` is the value before, where asked for and known.
    pub fn event(&self, previous: Option<Bytes>) -> Event {
        let kind = if self.deleted {
            EventType::Delete
        } else {
            EventType::Put
        };
        let prev_kv = self
            .previous
            .as_ref()
            .zip(previous)
            .map(|(previous, value)| {
                crate::domain::query::key_value(self.kv.key.clone(), &previous.version, value)
            });
        Event {
            r#type: kind.into(),
            kv: Some(self.kv.clone()),
            prev_kv,
        }
    }

    /// About how much memory it holds.
    pub fn size(&self) -> usize {
        let previous = self
            .previous
            .as_ref()
            .and_then(|previous| previous.value.as_ref());
        256 + self.kv.key.len() + self.kv.value.len() + previous.map_or(0, Bytes::len)
    }
}

/// All changes of one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The revision.
    pub revision: i64,
    /// In the order in which they were made; never none.
    pub changes: Vec<Change>,
}

impl Committed {
    /// What a request wrote. `value` finds a value that is in memory.
    pub fn of(writes: &[Write], mut value: impl FnMut(Row) -> Option<Bytes>) -> Option<Self> {
        let revision = writes.first()?.version.mod_revision;
        let change = |write: &Write| {
            let previous = before(writes, write).map(|version| Previous {
                version,
                value: value(version.row),
            });
            Change::of(
                write.key.clone(),
                &write.version,
                write.value.clone(),
                previous,
            )
        };
        Some(Self {
            revision,
            changes: writes.iter().map(change).collect(),
        })
    }

    /// About how much memory it holds.
    pub fn size(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }
}

/// What was in force before the revision of `write`, also where the revision wrote the key twice. As in etcd there
/// is nothing before what creates a key.
fn before(writes: &[Write], write: &Write) -> Option<Version> {
    let revision = write.version.mod_revision;
    if write.version.create_revision == revision {
        return None;
    }
    match write.previous {
        Some(previous) if previous.mod_revision == revision => {
            writes.iter().find(|first| first.key == write.key)?.previous
        }
        previous => previous,
    }
}
