//! Histories that can't be, each with the rule that it breaks.

use super::{History, Outcome, Read, Told, Watch, Write};
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::{Event, KeyValue};

fn kv(
    key: &'static str,
    value: &'static str,
    created: i64,
    modified: i64,
    version: i64,
) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: created,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

fn event(kv: KeyValue, prev_kv: Option<KeyValue>) -> Event {
    Event {
        r#type: i32::from(kv.version == 0),
        kv: Some(kv),
        prev_kv,
    }
}

fn write(begun: u64, key: &'static str, value: &'static str, outcome: Outcome) -> Write {
    Write {
        begun,
        ended: begun + 5,
        compares: Vec::new(),
        puts: vec![(key.into(), value.into())],
        deletes: Vec::new(),
        outcome,
    }
}

fn read(begun: u64, revision: i64, kvs: Vec<KeyValue>) -> Read {
    Read {
        begun,
        ended: begun + 5,
        prefix: "",
        at: 0,
        revision,
        kvs,
    }
}

fn told(at: u64, revision: i64, events: Vec<Event>) -> Told {
    Told {
        at,
        revision,
        events,
    }
}

/// "a" is made, made again together with "b", deleted on condition; one write has an unknown outcome, one is
/// refused, one meets a conflict; one watch hears of it all, another one of deletions below "a".
fn sound() -> History {
    let (a2, a3, b3) = (
        kv("a", "1", 2, 2, 1),
        kv("a", "2", 2, 3, 2),
        kv("b", "3", 3, 3, 1),
    );
    let (gone, c4) = (kv("a", "", 0, 4, 0), kv("c", "4", 4, 4, 1));
    let log = vec![
        event(a2.clone(), None),
        event(a3.clone(), None),
        event(b3.clone(), None),
        event(gone.clone(), None),
        event(c4.clone(), None),
    ];
    let both = Write {
        puts: vec![("a".into(), "2".into()), ("b".into(), "3".into())],
        ..write(10, "", "", Outcome::Unknown)
    };
    let delete = Write {
        compares: vec![("a".into(), 3)],
        deletes: vec!["a".into()],
        ..write(20, "c", "4", Outcome::Committed(4))
    };
    let conflict = Write {
        compares: vec![("b".into(), 2)],
        ..write(30, "b", "5", Outcome::Conflict(4, vec![b3.clone()]))
    };
    let told_all = vec![
        told(8, 2, vec![event(a2.clone(), None)]),
        told(
            18,
            3,
            vec![event(a3.clone(), Some(a2.clone())), event(b3.clone(), None)],
        ),
        told(
            28,
            4,
            vec![
                event(gone.clone(), Some(a3.clone())),
                event(c4.clone(), None),
            ],
        ),
        told(40, 4, Vec::new()),
    ];
    let told_deletions = vec![
        told(12, 2, Vec::new()),
        told(28, 4, vec![event(gone, None)]),
    ];
    let watch = |prefix, no_put, prev_kv, answers| Watch {
        prefix,
        start: 2,
        no_put,
        prev_kv,
        answers,
    };
    History {
        writes: vec![
            write(0, "a", "1", Outcome::Committed(2)),
            both,
            delete,
            conflict,
            write(31, "d", "6", Outcome::Refused),
            write(32, "d", "7", Outcome::Unknown),
        ],
        reads: vec![
            read(6, 2, vec![a2.clone()]),
            read(29, 4, vec![b3.clone(), c4]),
            Read {
                at: 3,
                ..read(30, 4, vec![a3, b3])
            },
        ],
        watches: vec![
            watch("", false, true, told_all),
            watch("a", true, false, told_deletions),
        ],
        log,
    }
}

/// Breaks the sound history, and expects to be told of it in these words.
#[track_caller]
fn broken(rule: &str, breaks: impl FnOnce(&mut History)) {
    let mut history = sound();
    breaks(&mut history);
    let violations = history.violations();
    assert!(
        violations.iter().any(|violation| violation.contains(rule)),
        "{rule:?} is not among {violations:#?}"
    );
}

#[test]
fn nothing_is_wrong_with_a_sound_history() {
    assert_eq!(sound().violations(), [""; 0]);
}

#[test]
fn the_log_has_no_gaps_and_right_versions() {
    broken("revision 3 after 1", |history| drop(history.log.remove(0)));
    broken("expected", |history| {
        history.log[1].kv.as_mut().unwrap().version = 1;
    });
    broken("expected", |history| {
        history.log[1].kv.as_mut().unwrap().create_revision = 3;
    });
}

#[test]
fn writes_are_done_once_whole_and_as_told() {
    broken("written by nobody", |history| {
        drop(history.writes.remove(0))
    });
    broken("acknowledged and lost", |history| {
        history.writes[5].outcome = Outcome::Committed(5);
    });
    broken("acknowledged as 7", |history| {
        history.writes[0].outcome = Outcome::Committed(7);
    });
    broken("told that not", |history| {
        history.writes[1].outcome = Outcome::Refused;
    });
    broken("half done", |history| {
        history.writes[1].puts.push(("e".into(), "9".into()));
    });
    broken("done twice", |history| {
        let again = kv("a", "1", 5, 5, 1);
        history.log.push(event(again, None));
    });
    broken("conditions did not hold", |history| {
        history.writes[2].compares = vec![(Bytes::from("a"), 2)];
    });
    broken("where there is none", |history| {
        history.writes[3].compares = vec![(Bytes::from("b"), 3)];
    });
    broken("with what isn't there", |history| {
        history.writes[3].outcome = Outcome::Conflict(4, Vec::new());
    });
}

#[test]
fn time_goes_one_way() {
    broken("was written after", |history| history.writes[0].begun = 25);
    broken("stale", |history| {
        history.reads[1] = read(29, 3, history.reads[2].kvs.clone());
    });
    broken("stale", |history| {
        // Seen by a watch alone.
        history.writes[2].outcome = Outcome::Unknown;
        history.reads = vec![read(29, 3, history.reads[2].kvs.clone())];
        history.writes.truncate(3);
    });
    broken("of the future", |history| history.reads[1].ended = 15);
    broken("that is lost", |history| history.reads[1].revision = 5);
}

#[test]
fn reads_show_what_was_there() {
    broken("wrong", |history| drop(history.reads[1].kvs.pop()));
    broken("wrong", |history| history.reads[2].at = 2);
    broken("wrong", |history| history.reads[0].kvs[0].version = 2);
}

#[test]
fn watches_are_told_everything_once_in_order_and_whole() {
    // Reliable, and resumable: nothing is left out from the start on.
    broken("due was", |history| {
        drop(history.watches[0].answers.remove(0))
    });
    // Unique.
    broken("told again", |history| {
        let again = history.watches[0].answers[1].clone();
        history.watches[0].answers.insert(2, again);
    });
    // Ordered.
    broken("out of order", |history| {
        history.watches[0].answers.swap(0, 1)
    });
    // Atomic.
    broken("due was", |history| {
        let whole = history.watches[0].answers[1].clone();
        let half = |event: &Event| told(18, 3, vec![event.clone()]);
        let halves = whole.events.iter().map(half).collect::<Vec<_>>();
        history.watches[0].answers.splice(1..2, halves);
    });
    // Bookmarkable.
    broken("after a report", |history| {
        history.watches[1].answers[0].revision = 4;
    });
    broken("the header is behind", |history| {
        history.watches[0].answers[1].revision = 2;
    });
    // A report must not hide what was not told.
    broken("due was", |history| {
        drop(history.watches[0].answers.remove(2))
    });
}

#[test]
fn watches_are_told_what_they_asked_for() {
    broken("filtered out", |history| history.watches[0].no_put = true);
    broken("filtered out", |history| history.watches[0].prefix = "a");
    broken("due was", |history| {
        history.watches[0].answers[1].events[0].prev_kv = None;
    });
    broken("due was", |history| {
        history.watches[0].answers[1].events[0].prev_kv = Some(kv("a", "old", 2, 2, 1));
    });
    broken("due was", |history| history.watches[1].prev_kv = true);
}
