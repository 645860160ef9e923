//! The newest revisions, in memory.

use super::committed::Committed;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is kept at most.
const MAX_BYTES: usize = 8 << 20;
/// So many revisions at most.
const MAX_REVISIONS: usize = 8192;

/// Revisions without a gap, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    revisions: VecDeque<Arc<Committed>>,
    bytes: usize,
}

impl Ring {
    /// Adds the next revision.
    pub(super) fn push(&mut self, committed: Arc<Committed>) {
        self.bytes += committed.size();
        self.revisions.push_back(committed);
        while self.bytes > MAX_BYTES || self.revisions.len() > MAX_REVISIONS {
            let Some(oldest) = self.revisions.pop_front() else {
                return;
            };
            self.bytes -= oldest.size();
        }
    }

    /// Everything from revision `from` on, `None` if some of it is gone from here.
    pub(super) fn since(&self, from: i64) -> Option<impl Iterator<Item = &Arc<Committed>>> {
        let first = self.revisions.front()?.revision;
        let skip = usize::try_from(from - first).ok()?;
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
        let mut ring = Ring::default();
        assert_eq!(since(&ring, 2), None);
        (2..=4).for_each(|r| ring.push(revision(r, 10)));
        assert_eq!(since(&ring, 1), None);
        assert_eq!(since(&ring, 3), Some(vec![3, 4]));
        assert_eq!(since(&ring, 5), Some(vec![]));
    }

    #[test]
    fn forgets_the_oldest_when_full() {
        let mut ring = Ring::default();
        (2..=6).for_each(|r| ring.push(revision(r, MAX_BYTES / 3)));
        assert_eq!(since(&ring, 4), None);
        assert_eq!(since(&ring, 5), Some(vec![5, 6]));
    }
}
