//! Committed rows, as another replica reports them, as changes of the state here.

use super::state::{Changes, State, Write};
use super::version::{Row, Version};
use bytes::Bytes;
use std::collections::HashMap;

/// A row as the log holds it: key, version, value.
pub type Logged = (Bytes, Version, Bytes);

/// Why rows can't be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The row that comes next here.
    pub expected: Row,
    /// The row that was reported.
    pub found: Row,
}

/// Changes from rows in order, one for each revision. Rows that `state` has are skipped; what was in force before
/// each write is looked up.
pub fn replay(state: &State, rows: impl IntoIterator<Item = Logged>) -> Result<Vec<Changes>, Gap> {
    let mut changes: Vec<Changes> = Vec::new();
    let mut latest: HashMap<Bytes, Version> = HashMap::new();
    let mut expected = state.next_row;
    for (key, version, value) in rows {
        if version.row < expected {
            continue;
        }
        if version.row > expected {
            let found = version.row;
            return Err(Gap { expected, found });
        }
        expected += 1;
        let before = latest.insert(key.clone(), version);
        let previous = before.or_else(|| state.index.latest(&key).copied());
        let write = Write {
            key,
            version,
            value,
            previous: previous.filter(|previous| !previous.is_tombstone()),
        };
        match changes.last_mut() {
            Some(last) if last.revision() == Some(version.mod_revision) => last.writes.push(write),
            _ => changes.push(Changes {
                writes: vec![write],
                ..Changes::default()
            }),
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row: Row, revision: i64, key: &'static str, version: i64) -> Logged {
        let version = Version {
            row,
            mod_revision: revision,
            create_revision: 2,
            version,
            lease: 0,
        };
        (key.into(), version, Bytes::new())
    }

    fn state(rows: Vec<Logged>) -> State {
        let mut state = State::default();
        for changes in replay(&state, rows).unwrap() {
            state.apply(&changes);
        }
        state
    }

    #[test]
    fn rows_of_a_revision_stay_together_and_know_what_was_before() {
        let state = state(vec![row(1, 2, "a", 1)]);
        assert_eq!((state.revision, state.next_row), (2, 2));
        let deletion = ("a".into(), Version::tombstone(3, 3), Bytes::new());
        let rows = vec![
            row(1, 2, "a", 1),
            row(2, 3, "a", 2),
            deletion,
            row(4, 4, "a", 1),
        ];
        let changes = replay(&state, rows).unwrap();
        let previous: Vec<Vec<_>> = changes
            .iter()
            .map(|changes| {
                let writes = changes.writes.iter();
                writes.map(|write| write.previous.map(|p| p.row)).collect()
            })
            .collect();
        assert_eq!(previous, [vec![Some(1), Some(2)], vec![None]]);
    }

    #[test]
    fn a_missing_row_is_noticed() {
        let gap = replay(&state(vec![]), vec![row(1, 2, "a", 1), row(3, 4, "a", 3)]);
        let (expected, found) = (2, 3);
        assert_eq!(gap, Err(Gap { expected, found }));
    }
}
