//! Sets of keys that lie next to each other.

use bytes::Bytes;
use std::fmt;
use std::ops::Bound;

/// All keys from `start` on, up to but without `end`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    start: Bytes,
    /// `None`: no upper bound.
    end: Option<Bytes>,
}

impl KeyRange {
    /// Reads etcd's pair: no `range_end` is one key, `"\0"` is every key from `key` on.
    pub fn parse(key: Bytes, range_end: Bytes) -> Self {
        match range_end.as_ref() {
            [] => Self::key(key),
            [0] => Self {
                start: key,
                end: None,
            },
            _ => Self {
                start: key,
                end: Some(range_end),
            },
        }
    }

    /// From `start` on, without `end`.
    pub fn between(start: Bytes, end: Bytes) -> Self {
        let end = Some(end);
        Self { start, end }
    }

    /// Exactly one key.
    pub fn key(key: Bytes) -> Self {
        let mut end = Vec::with_capacity(key.len() + 1);
        end.extend_from_slice(&key);
        end.push(0);
        Self {
            start: key,
            end: Some(end.into()),
        }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &'static [u8]) -> Self {
        Self::below(Bytes::from_static(prefix))
    }

    /// Every key that begins with `start`.
    pub fn below(start: Bytes) -> Self {
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                let end = Some(end.into());
                return Self { start, end };
            }
        }
        Self { start, end: None }
    }

    /// Every key.
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: None,
        }
    }

    /// The first key that may be in it.
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The first key beyond it, `None` where it has no upper bound.
    pub fn end(&self) -> Option<&Bytes> {
        self.end.as_ref()
    }

    /// The same range without the keys below `start`.
    pub fn from_key(&self, start: Bytes) -> Self {
        Self {
            start: start.max(self.start.clone()),
            end: self.end.clone(),
        }
    }

    /// The key, where the range is of exactly one.
    pub fn as_key(&self) -> Option<&Bytes> {
        let end = self.end.as_ref()?;
        (end.len() == self.start.len() + 1
            && end.last() == Some(&0)
            && end.starts_with(&self.start))
        .then_some(&self.start)
    }

    /// As etcd's pair of key and `range_end`. A range without an end begins with at least one byte.
    pub fn to_wire(&self) -> (Bytes, Bytes) {
        let end = match (self.as_key(), &self.end) {
            (Some(_), _) => Bytes::new(),
            (None, Some(end)) => end.clone(),
            (None, None) => Bytes::from_static(&[0]),
        };
        (self.start.clone(), end)
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end <= &self.start)
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }

    /// The keys in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (None, end) | (end, None) => end.clone(),
            (Some(a), Some(b)) => Some(a.clone().min(b.clone())),
        };
        Self { start, end }
    }

    /// For ordered maps. Only of a range that isn't empty: an ordered map panics at inverted bounds.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self
            .end
            .as_ref()
            .map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_ref()));
        (Bound::Included(self.start.as_ref()), end)
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.as_key() {
            return write!(f, "\"{}\"", key.escape_ascii());
        }
        write!(f, "[\"{}\", ", self.start.escape_ascii())?;
        match &self.end {
            Some(end) => write!(f, "\"{}\")", end.escape_ascii()),
            None => write!(f, "∞)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static [u8], end: &'static [u8]) -> KeyRange {
        KeyRange::parse(Bytes::from_static(key), Bytes::from_static(end))
    }

    #[test]
    fn reads_the_three_forms() {
        assert_eq!(range(b"a", b"").as_key(), Some(&Bytes::from_static(b"a")));
        assert!(range(b"a", b"\0").contains(b"\xff\xff"));
        assert!(range(b"a", b"c").contains(b"b") && !range(b"a", b"c").contains(b"c"));
        assert!(range(b"c", b"a").is_empty());
    }

    #[test]
    fn what_was_read_is_written_again() {
        for (key, end) in [("a", ""), ("a", "\0"), ("a", "c"), ("c", "a")] {
            let range = KeyRange::parse(key.into(), end.into());
            assert_eq!(range.to_wire(), (key.into(), end.into()));
        }
    }

    #[test]
    fn a_key_holds_itself_alone() {
        let key = range(b"a\0", b"");
        assert!(key.contains(b"a\0") && !key.contains(b"a") && !key.contains(b"a\0\0"));
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(KeyRange::prefix(b"/a/"), range(b"/a/", b"/a0"));
        assert_eq!(KeyRange::prefix(b"a\xff"), range(b"a\xff", b"b"));
        assert_eq!(KeyRange::prefix(b"\xff"), range(b"\xff", b"\0"));
    }

    #[test]
    fn intersection_keeps_what_both_hold() {
        let all = range(b"\0", b"\0");
        assert_eq!(all.intersection(&range(b"b", b"d")), range(b"b", b"d"));
        assert!(
            range(b"a", b"b")
                .intersection(&range(b"c", b"d"))
                .is_empty()
        );
    }
}
