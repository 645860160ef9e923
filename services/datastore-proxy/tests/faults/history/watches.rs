//! Watches: ordered, unique, atomic, resumable, reliable, bookmarkable; previous values and filters are right.

use super::Watch;
use super::model::Model;
use sextant_proto::etcd::mvccpb::Event;
use sextant_proto::etcd::mvccpb::event::EventType;

pub(super) fn check(watch: &Watch, model: &Model, found: &mut Vec<String>) {
    // The next revision that it may be told of.
    let mut next = watch.start;
    for told in &watch.answers {
        for event in &told.events {
            check_event(watch, event, next, told.revision, found);
        }
        let through = told.through();
        let expected = due(watch, model, next, through);
        if told.events != expected {
            found.push(format!(
                "watch of {:?} from {}: for revisions {next} to {through} it was told {:?}, due was {expected:?}",
                watch.prefix, watch.start, told.events
            ));
        }
        next = next.max(through + 1);
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Names the commonest ways to be wrong; whether it is all is compared with what is due.
fn check_event(watch: &Watch, event: &Event, next: i64, header: i64, found: &mut Vec<String>) {
    let revision = revision(event);
    let mut violated = |rule: &str| {
        found.push(format!(
            "watch of {:?} from {}: {rule}: {event:?}, next is {next}, the header says {header}",
            watch.prefix, watch.start
        ));
    };
    if revision < next {
        violated("told again, in part, out of order, or after a report that it was told");
    }
    if revision > header {
        violated("the header is behind the event");
    }
    let kv = event.kv.clone().unwrap_or_default();
    if !kv.key.starts_with(watch.prefix.as_bytes())
        || watch.no_put && event.r#type() == EventType::Put
    {
        violated("filtered out");
    }
}

/// What it must be told of the revisions from `from` through `through`.
fn due(watch: &Watch, model: &Model, from: i64, through: i64) -> Vec<Event> {
    if from > through {
        return Vec::new();
    }
    let revisions = model.revisions.range(from..=through);
    let events = revisions.flat_map(|(_, events)| events);
    let wanted = events.filter(|event| {
        let key = event.kv.as_ref().map(|kv| &kv.key);
        key.is_some_and(|key| key.starts_with(watch.prefix.as_bytes()))
            && !(watch.no_put && event.r#type() == EventType::Put)
    });
    wanted
        .map(|event| {
            let kv = event.kv.clone().unwrap_or_default();
            let before = model.at(&kv.key, kv.mod_revision - 1);
            Event {
                prev_kv: before.filter(|_| watch.prev_kv).cloned(),
                kv: Some(kv),
                r#type: event.r#type,
            }
        })
        .collect()
}
