//! The newest revisions, in memory.

use super::committed::Committed;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is kept at most.
const MAX_BYTES: usize = 8 << 20;
/// So many revisions at most.
const MAX_REVISIONS: usize = 8192;

/// Everything that happened from some revision on, oldest first. Revisions may be missing: nothing happened then.
#[derive(Debug)]
pub(super) struct Ring {
    /// The first revision of which everything is here.
    from: i64,
    revisions: VecDeque<Arc<Committed>>,
    bytes: usize,
}

impl Ring {
    /// A ring that will be told everything from revision `from` on.
    pub(super) fn new(from: i64) -> Self {
        Self {
            from,
            revisions: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds the next revision.
    pub(super) fn push(&mut self, committed: Arc<Committed>) {
        self.bytes += committed.size();
        self.revisions.push_back(committed);
        while self.bytes > MAX_BYTES || self.revisions.len() > MAX_REVISIONS {
            let Some(oldest) = self.revisions.pop_front() else {
                return;
            };
            self.bytes -= oldest.size();
            self.from = oldest.revision + 1;
        }
    }

    /// Everything from revision `from` on, `None` if some of it is gone from here.
    pub(super) fn since(&self, from: i64) -> Option<impl Iterator<Item = &Arc<Committed>>> {
        if from < self.from {
            return None;
        }
        let skip = self
            .revisions
            .partition_point(|committed| committed.revision < from);
        Some(self.revisions.iter().skip(skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::version::Version;
    use crate::watch::committed::Change;
    use bytes::Bytes;

    fn revision(revision: i64, size: usize) -> Arc<Committed> {
        let change = Change::of(
            "k".into(),
            &Version::tombstone(1, revision),
            Bytes::from(vec![0; size]),
            None,
        );
        Arc::new(Committed {
            revision,
            changes: vec![change],
        })
    }

    fn since(ring: &Ring, from: i64) -> Option<Vec<i64>> {
        Some(
            ring.since(from)?
                .map(|committed| committed.revision)
                .collect(),
        )
    }

    #[test]
    fn gives_what_it_has_and_says_what_it_has_not() {
        let mut ring = Ring::new(2);
        assert_eq!(since(&ring, 1), None);
        assert_eq!(since(&ring, 2), Some(vec![]));
        [2, 3, 7]
            .into_iter()
            .for_each(|r| ring.push(revision(r, 10)));
        assert_eq!(since(&ring, 1), None);
        assert_eq!(since(&ring, 3), Some(vec![3, 7]));
        assert_eq!(since(&ring, 5), Some(vec![7]));
        assert_eq!(since(&ring, 8), Some(vec![]));
    }

    #[test]
    fn forgets_the_oldest_when_full() {
        let mut ring = Ring::new(2);
        (2..=6).for_each(|r| ring.push(revision(r, MAX_BYTES / 3)));
        assert_eq!(since(&ring, 4), None);
        assert_eq!(since(&ring, 5), Some(vec![5, 6]));
    }
}
