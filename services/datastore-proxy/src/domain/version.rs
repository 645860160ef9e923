//! The versions of one key.

/// Number of a row in the log. Rows are numbered in the order they were written.
pub type Row = i64;

/// What one write made of one key. The value stays in the log, under `row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Where the log holds it.
    pub row: Row,
    /// The revision of this write.
    pub mod_revision: i64,
    /// The revision that created the key, 0 where this deleted it.
    pub create_revision: i64,
    /// How often the key was written since its creation, 0 where this deleted it.
    pub version: i64,
    /// The lease it lives under, 0 for none.
    pub lease: i64,
}

impl Version {
    /// The deletion of a key.
    pub fn tombstone(row: Row, revision: i64) -> Self {
        Self {
            row,
            mod_revision: revision,
            create_revision: 0,
            version: 0,
            lease: 0,
        }
    }

    /// Whether this write deleted the key.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }
}

/// All versions of one key that are still held, oldest first. Most keys have one, which needs no allocation.
#[derive(Clone, Debug)]
pub struct History {
    older: Vec<Version>,
    latest: Version,
}

impl History {
    /// The history of a key that was written once.
    pub fn new(first: Version) -> Self {
        Self {
            older: Vec::new(),
            latest: first,
        }
    }

    /// Adds the next version.
    pub fn push(&mut self, next: Version) {
        self.older.push(std::mem::replace(&mut self.latest, next));
    }

    /// The newest version, a tombstone included.
    pub fn latest(&self) -> &Version {
        &self.latest
    }

    /// Whether one of the versions stands in `row`.
    pub fn holds(&self, row: Row) -> bool {
        let older = self.older.binary_search_by_key(&row, |version| version.row);
        self.latest.row == row || older.is_ok()
    }

    /// The version that was in force at `revision`, `None` if the key didn't exist then.
    pub fn at(&self, revision: i64) -> Option<&Version> {
        self.in_force(revision)
            .filter(|version| !version.is_tombstone())
    }

    fn in_force(&self, revision: i64) -> Option<&Version> {
        if self.latest.mod_revision <= revision {
            return Some(&self.latest);
        }
        let newer = self
            .older
            .partition_point(|version| version.mod_revision <= revision);
        self.older.get(newer.checked_sub(1)?)
    }

    /// Drops what nobody can ask for any more once revisions below `revision` are forgotten, telling `dropped` the
    /// rows. `true`: nothing is left of the key.
    ///
    /// The version in force at `revision` stays, and so does a tombstone of `revision` itself, since a watch may
    /// still start there.
    pub fn compact(&mut self, revision: i64, dropped: &mut Vec<Row>) -> bool {
        let Some(kept) = self.in_force(revision) else {
            return false;
        };
        let (kept_row, kept_revision) = (kept.row, kept.mod_revision);
        let forgotten = kept.is_tombstone() && kept_revision < revision;
        let drop = |version: &Version| {
            version.row < kept_row && version.mod_revision < revision
                || version.row == kept_row && forgotten
        };
        if drop(&self.latest) {
            dropped.extend(self.older.iter().map(|version| version.row));
            dropped.push(self.latest.row);
            return true;
        }
        self.older.retain(|version| {
            let drop = drop(version);
            if drop {
                dropped.push(version.row);
            }
            !drop
        });
        if self.older.is_empty() {
            self.older = Vec::new();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(row: i64, revision: i64) -> Version {
        Version {
            row,
            mod_revision: revision,
            create_revision: 2,
            version: 1,
            lease: 0,
        }
    }

    fn history(versions: &[Version]) -> History {
        let mut history = History::new(versions[0]);
        versions[1..]
            .iter()
            .for_each(|version| history.push(*version));
        history
    }

    #[test]
    fn finds_the_version_in_force() {
        let history = history(&[put(1, 2), put(2, 5), Version::tombstone(3, 7), put(4, 9)]);
        assert_eq!(history.at(1), None);
        assert_eq!(history.at(4).map(|v| v.row), Some(1));
        assert_eq!(history.at(6).map(|v| v.row), Some(2));
        assert_eq!(history.at(8), None);
        assert_eq!(history.at(100).map(|v| v.row), Some(4));
    }

    #[test]
    fn compaction_keeps_what_is_in_force() {
        let mut history = history(&[put(1, 2), put(2, 5), put(3, 9)]);
        let mut dropped = Vec::new();
        assert!(!history.compact(6, &mut dropped));
        assert_eq!(dropped, [1]);
        assert_eq!(history.at(6).map(|v| v.row), Some(2));
    }

    #[test]
    fn compaction_forgets_a_deleted_key_one_revision_later() {
        let versions = [put(1, 2), Version::tombstone(2, 5)];
        let mut dropped = Vec::new();
        assert!(!history(&versions).compact(5, &mut dropped));
        assert_eq!(dropped, [1]);
        dropped.clear();
        assert!(history(&versions).compact(6, &mut dropped));
        assert_eq!(dropped, [1, 2]);
    }

    #[test]
    fn compaction_drops_a_tombstone_in_the_middle() {
        let mut history = history(&[put(1, 2), Version::tombstone(2, 5), put(3, 9)]);
        let mut dropped = Vec::new();
        assert!(!history.compact(7, &mut dropped));
        assert_eq!(dropped, [1, 2]);
        assert_eq!(history.at(9).map(|v| v.row), Some(3));
    }
}
