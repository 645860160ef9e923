use super::log::SqliteLog;
use super::*;
use crate::domain::lease::{Lease, LeaseChange};
use crate::domain::range::KeyRange;
use crate::domain::state::{Changes, Write};
use crate::domain::version::{Row, Version};
use crate::store::Log;
use bytes::Bytes;

fn open(path: &Path) -> Opened {
    Claim::new(path).unwrap().open().unwrap()
}

fn put(row: Row, revision: i64, key: &'static str, size: usize) -> Write {
    let version = Version {
        row,
        mod_revision: revision,
        create_revision: revision,
        version: 1,
        lease: 0,
    };
    Write {
        key: key.into(),
        version,
        value: Bytes::from(vec![b'x'; size]),
        previous: None,
    }
}

fn changes(writes: Vec<Write>) -> Changes {
    Changes {
        writes,
        ..Changes::default()
    }
}

fn commit(log: &dyn Log, all: &[Changes]) {
    log.begin().unwrap();
    all.iter().for_each(|changes| log.append(changes).unwrap());
    log.commit().unwrap();
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

#[test]
fn gives_back_what_was_committed() {
    let (_folder, path) = file();
    let opened = open(&path);
    let lease = Lease {
        id: 7,
        ttl: 60,
        deadline: 1234,
        owner: "me".into(),
    };
    let leases = vec![
        LeaseChange::Granted(lease.clone()),
        LeaseChange::Granted(Lease {
            id: 8,
            ..lease.clone()
        }),
        LeaseChange::Renewed {
            id: 7,
            deadline: 5678,
        },
        LeaseChange::Revoked { id: 8 },
    ];
    let leased = Write {
        version: Version {
            lease: 7,
            ..put(2, 3, "b", 5).version
        },
        ..put(2, 3, "b", 5)
    };
    let gone = Write {
        version: Version::tombstone(3, 4),
        value: Bytes::new(),
        ..put(3, 4, "a", 0)
    };
    let all = [
        changes(vec![put(1, 2, "a", 5)]),
        Changes {
            leases,
            compacted: Some(2),
            ..Changes::default()
        },
        changes(vec![leased]),
        changes(vec![gone]),
    ];
    commit(opened.log.as_ref(), &all);
    let ids = (opened.loaded.cluster_id, opened.loaded.member_id);
    drop(opened);

    let loaded = open(&path).loaded;
    assert_eq!((loaded.cluster_id, loaded.member_id), ids);
    let state = loaded.state;
    assert_eq!((state.revision, state.next_row, state.compacted), (4, 4, 2));
    assert_eq!(state.index.get(b"a", 3).map(|v| v.row), Some(1));
    assert_eq!(state.index.get(b"a", 4), None);
    assert_eq!(state.leases.get(7).map(|lease| lease.deadline), Some(5678));
    assert_eq!(state.leases.get(8), None);
    assert_eq!(state.leases.keys(7).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_large_file_is_opened_without_its_keys() {
    let (_folder, path) = file();
    let keys = ["a", "b", "ba", "c"];
    let writes = keys.into_iter().zip(1..);
    let all: Vec<_> = writes
        .map(|(key, row)| changes(vec![put(row, row + 1, key, 5)]))
        .collect();
    let opened = open(&path);
    commit(opened.log.as_ref(), &all);
    drop(opened);

    let Opened { loaded, keys, .. } = Claim::new(&path).unwrap().open_as(0).unwrap();
    let mut state = loaded.state;
    assert_eq!((state.revision, state.next_row), (5, 5));
    assert!(state.index.is_empty());
    let range = KeyRange::parse("b".into(), "c".into());
    keys.unwrap().load(&range, &mut state).unwrap();
    let found = state.index.iter(&KeyRange::all(), 9);
    let found: Vec<_> = found.map(|(key, _)| key.clone()).collect();
    assert_eq!(found, ["b", "ba"]);
}

#[test]
fn what_was_not_committed_is_gone() {
    let (_folder, path) = file();
    let opened = open(&path);
    opened.log.begin().unwrap();
    opened
        .log
        .append(&changes(vec![put(1, 2, "a", 5)]))
        .unwrap();
    drop(opened);
    assert!(open(&path).loaded.state.index.is_empty());
}

#[test]
fn a_request_that_fails_takes_nothing_with_it() {
    let (_folder, path) = file();
    let opened = open(&path);
    let log = opened.log.as_ref();
    log.begin().unwrap();
    log.append(&changes(vec![put(1, 2, "a", 5)])).unwrap();
    // The second row is taken.
    log.append(&changes(vec![put(2, 3, "b", 5), put(1, 3, "c", 5)]))
        .unwrap_err();
    assert!(log.is_open());
    log.append(&changes(vec![put(2, 3, "d", 5)])).unwrap();
    log.commit().unwrap();
    drop(opened);
    let index = open(&path).loaded.state.index;
    let keys: Vec<_> = index
        .iter(&KeyRange::all(), 9)
        .map(|(key, _)| key.clone())
        .collect();
    assert_eq!(keys, ["a", "d"]);
}

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    let (_folder, path) = file();
    let mut connection = connect(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )
    .unwrap();
    schema::prepare(&connection, &path).unwrap();
    connection
        .execute_batch("PRAGMA max_page_count = 40")
        .unwrap();
    let claim = Claim::new(&path).unwrap();
    let checkpoint = checkpoint::Checkpointer::start(&mut connection, &path).unwrap();
    let log = SqliteLog::new(connection, claim, checkpoint);
    commit(&log, &[changes(vec![put(1, 2, "a", 5)])]);
    log.begin().unwrap();
    let error = log
        .append(&changes(vec![put(2, 3, "b", 1 << 20)]))
        .unwrap_err();
    assert_eq!(error, StoreError::NoSpace(path.clone()));
    log.rollback().unwrap();
    assert_eq!(log.last_row().unwrap(), 1);
    commit(&log, &[changes(vec![put(2, 3, "b", 5)])]);
    assert_eq!(log.value(2).unwrap(), Some("xxxxx".into()));
}

/// Containers have no folder for temporary files.
#[test]
fn a_request_that_touches_many_pages_needs_no_temporary_file() {
    let (_folder, path) = file();
    let opened = open(&path);
    let write = |row: Row, key: Row| Write {
        key: format!("/registry/events/{key:0100}").into(),
        ..put(row, row + 1, "", 100)
    };
    let many = (1..=2000).map(|row| write(row, row)).collect();
    commit(opened.log.as_ref(), &[changes(many)]);
    let spread = (1..=100).map(|n| write(2000 + n, n * 20)).collect();
    opened.log.begin().unwrap();
    opened.log.append(&changes(spread)).unwrap();
    // The undo journal of a request is open until the commit; its file has no name, or SQLite's own.
    let open: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|file| {
            let file = file.to_string_lossy();
            file.contains("/#") || file.contains("/etilqs_")
        })
        .collect();
    assert!(open.is_empty(), "{open:?}");
    opened.log.commit().unwrap();
}

#[test]
fn one_process_at_a_time() {
    let (_folder, path) = file();
    let opened = open(&path);
    let error = Claim::new(&path).unwrap_err();
    assert!(
        error.to_string().contains("held by another process"),
        "{error}"
    );
    drop(opened);
    open(&path);
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let (_folder, path) = file();
    std::fs::write(&path, vec![0x42; 8192]).unwrap();
    let error = Claim::new(&path).unwrap().open().err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("state.db"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![0x42; 8192]);

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let error = Claim::new(&path).unwrap().open().err().unwrap();
    assert!(
        error.to_string().contains("not of datastore-proxy"),
        "{error}"
    );
}

#[test]
fn a_damaged_store_is_noticed() {
    let (_folder, path) = file();
    let opened = open(&path);
    let writes = (1..200).map(|row| put(row, row + 1, "k", 2000)).collect();
    commit(opened.log.as_ref(), &[changes(writes)]);
    drop(opened);
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 40_000].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = Claim::new(&path).unwrap().open().err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn pages_are_of_whole_revisions() {
    let (_folder, path) = file();
    let opened = open(&path);
    let mut all = Vec::new();
    let mut row = 0;
    for revision in 2..40 {
        let mut writes = Vec::new();
        for key in ["a", "b", "c"] {
            row += 1;
            writes.push(put(row, revision, key, 1000));
        }
        all.push(changes(writes));
    }
    commit(opened.log.as_ref(), &all);
    // Gaps, as compactions leave them.
    commit_removal(
        opened.log.as_ref(),
        &(1..row).filter(|r| r % 7 == 1).collect::<Vec<_>>(),
    );
    let range = KeyRange::parse("b".into(), "\0".into());
    let mut from = 5;
    let mut found = Vec::new();
    while from <= 30 {
        let page = opened.reader.page(&range, from, 30, 3000).unwrap();
        assert!(page.through >= from, "it moves on");
        assert!(
            page.writes
                .iter()
                .all(|w| (from..=page.through).contains(&w.version.mod_revision))
        );
        found.extend(
            page.writes
                .into_iter()
                .map(|w| (w.version.mod_revision, w.key)),
        );
        from = page.through + 1;
    }
    let expected: Vec<(i64, Bytes)> = all
        .iter()
        .flat_map(|changes| &changes.writes)
        .filter(|w| w.version.row % 7 != 1 && (5..=30).contains(&w.version.mod_revision))
        .filter(|w| w.key != "a")
        .map(|w| (w.version.mod_revision, w.key.clone()))
        .collect();
    assert_eq!(found, expected);
}

fn commit_removal(log: &dyn Log, rows: &[Row]) {
    log.begin().unwrap();
    log.remove(rows).unwrap();
    log.commit().unwrap();
}

#[test]
fn removed_rows_give_their_space_back() {
    let (_folder, path) = file();
    let opened = open(&path);
    let rows: Vec<Row> = (1..20_000).collect();
    let writes = rows
        .iter()
        .map(|row| put(*row, *row + 1, "k", 3000))
        .collect();
    commit(opened.log.as_ref(), &[changes(writes)]);
    let before = opened.log.size().unwrap().unwrap();
    commit_removal(opened.log.as_ref(), &rows[..19_900]);
    let mut steps = 0;
    while opened.log.shrink().unwrap() {
        steps += 1;
    }
    let after = opened.log.size().unwrap().unwrap();
    assert!(after.total < before.total / 5, "{before:?} {after:?}");
    assert!(steps < 400, "{steps} steps");
    let values = opened.reader.values(&[1, 19_999]).unwrap();
    assert!(values[0].is_none() && values[1].is_some());
}

#[test]
fn the_write_ahead_log_is_bounded() {
    let (folder, path) = file();
    let opened = open(&path);
    for row in 1..3000 {
        commit(
            opened.log.as_ref(),
            &[changes(vec![put(row, row + 1, "k", 20_000)])],
        );
    }
    let size = std::fs::metadata(folder.path().join("state.db-wal"))
        .unwrap()
        .len();
    assert!(size < 48 << 20, "{size} bytes");
}
