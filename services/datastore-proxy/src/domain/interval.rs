//! Which of many ranges hold a key, in time proportional to how many do.
//!
//! A treap ordered by where ranges begin; every node knows how far the ranges below it reach, so that subtrees
//! which end before the key are skipped.

use super::range::KeyRange;
use bytes::Bytes;
use std::cmp::Ordering;

/// Ranges, each with an id of its own.
#[derive(Debug, Default)]
pub struct IntervalSet {
    root: Link,
    len: usize,
    seed: u64,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    range: KeyRange,
    id: u64,
    priority: u64,
    /// The greatest end below here.
    reach: Reach,
    left: Link,
    right: Link,
}

/// An upper bound; none is greater than all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Until(Bytes),
    Unbounded,
}

impl Reach {
    fn of(range: &KeyRange) -> Self {
        range.end().cloned().map_or(Self::Unbounded, Self::Until)
    }

    fn exceeds(&self, key: &[u8]) -> bool {
        match self {
            Self::Until(end) => end.as_ref() > key,
            Self::Unbounded => true,
        }
    }
}

impl IntervalSet {
    /// Adds a range under an id that isn't in use.
    pub fn insert(&mut self, range: KeyRange, id: u64) {
        let reach = Reach::of(&range);
        let priority = self.next_priority();
        let node = Box::new(Node {
            range,
            id,
            priority,
            reach,
            left: None,
            right: None,
        });
        let (left, right) = split(self.root.take(), &node.range, id);
        self.root = join(join(left, Some(node)), right);
        self.len += 1;
    }

    /// Takes a range out again; `false` if it wasn't there.
    pub fn remove(&mut self, range: &KeyRange, id: u64) -> bool {
        let removed = remove(&mut self.root, range, id);
        self.len -= usize::from(removed);
        removed
    }

    /// Tells `visit` the id of every range that holds `key`.
    pub fn visit(&self, key: &[u8], visit: &mut impl FnMut(u64)) {
        visit_below(self.root.as_deref(), key, visit);
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Splitmix64: balance needs spread, not secrecy.
    fn next_priority(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Node {
    fn order(&self, range: &KeyRange, id: u64) -> Ordering {
        self.range.start().cmp(range.start()).then(self.id.cmp(&id))
    }

    fn update(&mut self) {
        let below = [&self.left, &self.right]
            .into_iter()
            .flatten()
            .map(|node| &node.reach);
        self.reach = below
            .cloned()
            .max()
            .unwrap_or_else(|| Reach::of(&self.range));
        self.reach = self.reach.clone().max(Reach::of(&self.range));
    }
}

/// Cuts a tree in what comes before (`range`, `id`) and the rest.
fn split(link: Link, range: &KeyRange, id: u64) -> (Link, Link) {
    let Some(mut node) = link else {
        return (None, None);
    };
    if node.order(range, id) == Ordering::Less {
        let (left, right) = split(node.right.take(), range, id);
        node.right = left;
        node.update();
        (Some(node), right)
    } else {
        let (left, right) = split(node.left.take(), range, id);
        node.left = right;
        node.update();
        (left, Some(node))
    }
}

/// Joins two trees, all of `left` before all of `right`.
fn join(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, link) | (link, None) => link,
        (Some(mut left), Some(right)) if left.priority > right.priority => {
            left.right = join(left.right.take(), Some(right));
            left.update();
            Some(left)
        }
        (left, Some(mut right)) => {
            right.left = join(left, right.left.take());
            right.update();
            Some(right)
        }
    }
}

fn remove(link: &mut Link, range: &KeyRange, id: u64) -> bool {
    let Some(node) = link else { return false };
    let removed = match node.order(range, id) {
        Ordering::Equal => {
            *link = join(node.left.take(), node.right.take());
            return true;
        }
        Ordering::Less => remove(&mut node.right, range, id),
        Ordering::Greater => remove(&mut node.left, range, id),
    };
    if removed {
        node.update();
    }
    removed
}

fn visit_below(node: Option<&Node>, key: &[u8], visit: &mut impl FnMut(u64)) {
    let Some(node) = node else { return };
    if !node.reach.exceeds(key) {
        return;
    }
    visit_below(node.left.as_deref(), key, visit);
    if node.range.start().as_ref() <= key {
        if node.range.contains(key) {
            visit(node.id);
        }
        visit_below(node.right.as_deref(), key, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range() -> impl Strategy<Value = KeyRange> {
        let key = || prop::collection::vec(0..4_u8, 1..4);
        (key(), prop_oneof![key(), Just(Vec::new()), Just(vec![0])])
            .prop_map(|(key, end)| KeyRange::parse(key.into(), end.into()))
    }

    proptest! {
        #[test]
        fn finds_what_a_list_would(
            ranges in prop::collection::vec((range(), any::<bool>()), 1..60),
            keys in prop::collection::vec(prop::collection::vec(0..4_u8, 1..4), 1..20),
        ) {
            let mut set = IntervalSet::default();
            for (id, (range, _)) in (0..).zip(&ranges) {
                set.insert(range.clone(), id);
            }
            for (id, (range, kept)) in (0..).zip(&ranges) {
                prop_assert!(*kept || set.remove(range, id));
                prop_assert!(*kept || !set.remove(range, id));
            }
            prop_assert_eq!(set.len(), ranges.iter().filter(|(_, kept)| *kept).count());
            for key in keys {
                let mut found = Vec::new();
                set.visit(&key, &mut |id| found.push(id));
                found.sort_unstable();
                let expected: Vec<u64> = (0..)
                    .zip(&ranges)
                    .filter(|(_, (range, kept))| *kept && range.contains(&key))
                    .map(|(id, _)| id)
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
