//! etcd's answers to a watch → whole revisions of this plane.

use super::plane::Plane;
use crate::domain::version::Version;
use crate::watch::committed::{Change, Committed, Previous};
use sextant_proto::etcd::etcdserverpb::WatchResponse;
use sextant_proto::etcd::mvccpb::event::EventType;
use sextant_proto::etcd::mvccpb::{Event, KeyValue};

/// Puts answers that came in pieces together. etcd cuts them anywhere, but begins and ends the whole with whole
/// revisions.
#[derive(Debug, Default)]
pub struct Batch(Vec<Event>);

impl Batch {
    /// Adds an answer; the events of the whole if this was its last piece.
    pub fn push(&mut self, answer: WatchResponse) -> Option<Vec<Event>> {
        self.0.extend(answer.events);
        (!answer.fragment && !self.0.is_empty()).then(|| std::mem::take(&mut self.0))
    }
}

/// The changes that events tell of.
pub fn changes(plane: &Plane, events: Vec<Event>) -> Vec<Change> {
    let change = |event: Event| {
        let deleted = event.r#type() == EventType::Delete;
        let kv = event.kv?;
        let key = plane.strip(&kv.key)?;
        Some(Change {
            kv: KeyValue { key, ..kv },
            deleted,
            previous: event.prev_kv.map(previous),
        })
    };
    events.into_iter().filter_map(change).collect()
}

/// Changes by their revisions.
pub fn committed(changes: Vec<Change>) -> Vec<Committed> {
    let mut revisions: Vec<Committed> = Vec::new();
    for change in changes {
        let revision = change.kv.mod_revision;
        match revisions.last_mut() {
            Some(last) if last.revision == revision => last.changes.push(change),
            _ => revisions.push(Committed {
                revision,
                changes: vec![change],
            }),
        }
    }
    revisions
}

fn previous(kv: KeyValue) -> Previous {
    let version = Version {
        // Rows are of logs; the value is here.
        row: 0,
        mod_revision: kv.mod_revision,
        create_revision: kv.create_revision,
        version: kv.version,
        lease: kv.lease,
    };
    Previous {
        version,
        value: Some(kv.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event((key, revision, deleted, previous): &(u8, i64, bool, Option<u8>)) -> Event {
        let kv = |value: u8, revision: i64| KeyValue {
            key: format!("/p/{key}").into(),
            create_revision: if *deleted { 0 } else { revision },
            mod_revision: revision,
            version: i64::from(!deleted),
            value: vec![value].into(),
            lease: 0,
        };
        let before = |value: u8| KeyValue {
            create_revision: revision - 1,
            version: 3,
            lease: 9,
            ..kv(value, revision - 1)
        };
        Event {
            r#type: i32::from(*deleted),
            kv: Some(kv(1, *revision)),
            prev_kv: previous.map(before),
        }
    }

    proptest! {
        /// However etcd cuts its answers, each revision comes out once and whole, and the wire shows it as it came.
        #[test]
        fn pieces_become_whole_revisions(
            sizes in prop::collection::vec(1..4_usize, 1..8),
            details in prop::collection::vec((any::<u8>(), any::<bool>(), any::<Option<u8>>()), 32),
            cuts in prop::collection::vec(any::<bool>(), 32),
        ) {
            let revisions = (5..).step_by(3).zip(&sizes);
            let revisions = revisions.flat_map(|(revision, size)| vec![revision; *size]);
            let rows: Vec<_> = revisions
                .zip(&details)
                .map(|(revision, (key, deleted, previous))| (*key, revision, *deleted, *previous))
                .collect();
            let mut batch = Batch::default();
            let mut whole = None;
            let mut piece = WatchResponse::default();
            for (at, row) in rows.iter().enumerate() {
                piece.events.push(event(row));
                let is_last = at + 1 == rows.len();
                if is_last || cuts[at] {
                    piece.fragment = !is_last;
                    prop_assert_eq!(whole.replace(batch.push(std::mem::take(&mut piece))).flatten(), None);
                }
            }
            let events = whole.flatten().unwrap();
            let plane = Plane::new("/p/".into());
            let found = committed(changes(&plane, events));
            let found_sizes: Vec<_> = found.iter().map(|committed| committed.changes.len()).collect();
            prop_assert_eq!(found_sizes, sizes);
            let shown: Vec<Event> = found
                .iter()
                .flat_map(|committed| &committed.changes)
                .map(|change| change.event(change.previous.as_ref().and_then(|p| p.value.clone())))
                .collect();
            let strip = |kv: &mut Option<KeyValue>| if let Some(kv) = kv {
                kv.key = kv.key.slice(3..);
            };
            let mut expected: Vec<Event> = rows.iter().map(event).collect();
            for event in &mut expected {
                strip(&mut event.kv);
                strip(&mut event.prev_kv);
            }
            prop_assert_eq!(shown, expected);
        }
    }

    #[test]
    fn keys_of_others_are_left_out() {
        let plane = Plane::new("/q/".into());
        assert!(changes(&plane, vec![event(&(1, 2, false, None))]).is_empty());
    }
}
