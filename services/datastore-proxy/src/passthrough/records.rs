//! Keys by which planes that share an etcd agree: how far each has compacted, and who made which lease. They lie
//! beside the planes' own keys, where no client of a plane with a prefix reaches.

use bytes::Bytes;
use std::collections::BTreeMap;

const COMPACTED: &[u8] = b"/sextant-planes/compacted";
const LEASES: &[u8] = b"/sextant-planes/leases";

/// What all records begin with, and no plane's keys may.
pub const RESERVED: &[u8] = b"/sextant-planes/";

/// The prefix of all planes' compactions.
pub fn all_compactions() -> Bytes {
    [COMPACTED, b"/"].concat().into()
}

/// The key that holds how far the plane with this prefix has compacted.
pub fn compaction(prefix: &[u8]) -> Bytes {
    [COMPACTED, prefix].concat().into()
}

/// The plane's prefix in the key of its compaction.
pub fn plane_of(key: &Bytes) -> Option<Bytes> {
    key.starts_with(COMPACTED)
        .then(|| key.slice(COMPACTED.len()..))
}

/// Reads the value of a compaction.
pub fn revision(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The prefix of the owners of a plane's leases.
pub fn owners(prefix: &[u8]) -> Bytes {
    let prefix = if prefix.is_empty() { b"/" } else { prefix };
    [LEASES, prefix].concat().into()
}

/// The key that names the owner of a lease and lives under that lease.
pub fn owner(prefix: &[u8], lease: i64) -> Bytes {
    let id = format!("{lease:016x}");
    [owners(prefix).as_ref(), id.as_bytes()].concat().into()
}

/// The lease in the key of an owner.
pub fn lease_of(prefix: &[u8], key: &[u8]) -> Option<i64> {
    let id = key.strip_prefix(owners(prefix).as_ref())?;
    let id = u64::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()?;
    Some(i64::from_ne_bytes(id.to_ne_bytes()))
}

/// Of `planes`, one whose keys would be among those of `prefix` or the other way round.
pub fn entangled<'p>(
    prefix: &[u8],
    planes: impl IntoIterator<Item = &'p Bytes>,
) -> Option<&'p Bytes> {
    planes.into_iter().find(|other| {
        other[..] != *prefix && (other.starts_with(prefix) || prefix.starts_with(other))
    })
}

/// Up to where the etcd can be compacted once the plane with `prefix` has compacted to `revision`: no further than
/// any plane has. 0: not at all.
pub fn lowest(planes: &BTreeMap<Bytes, i64>, prefix: &[u8], revision: i64) -> i64 {
    let others = planes
        .iter()
        .filter(|(other, _)| other[..] != *prefix)
        .map(|(_, compacted)| *compacted);
    others.chain([revision]).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let key = owner(b"/a/", 7);
        assert_eq!(key, "/sextant-planes/leases/a/0000000000000007");
        for lease in [7, i64::MAX, -3] {
            assert_eq!(lease_of(b"/a/", &owner(b"/a/", lease)), Some(lease));
            assert_eq!(lease_of(b"", &owner(b"", lease)), Some(lease));
        }
        assert_eq!(lease_of(b"", &key), None);
        assert_eq!(plane_of(&compaction(b"/a/")), Some("/a/".into()));
        assert!(compaction(b"/a/").starts_with(&all_compactions()));
    }

    #[test]
    fn planes_must_lie_side_by_side() {
        let planes: Vec<Bytes> = vec!["/a/b/".into(), "/c/".into()];
        for (prefix, other) in [
            ("/a/", Some("/a/b/")),
            ("/c/d/", Some("/c/")),
            ("/", Some("/a/b/")),
        ] {
            assert_eq!(
                entangled(prefix.as_bytes(), &planes),
                other.map(Bytes::from).as_ref()
            );
        }
        for prefix in ["/c/", "/a/bc/", "/d/"] {
            assert_eq!(entangled(prefix.as_bytes(), &planes), None);
        }
    }

    #[test]
    fn the_slowest_plane_decides() {
        let planes = BTreeMap::from([("/a/".into(), 90), ("/b/".into(), 50)]);
        assert_eq!(lowest(&planes, b"/a/", 100), 50);
        assert_eq!(lowest(&planes, b"/b/", 100), 90);
        assert_eq!(lowest(&planes, b"/b/", 60), 60);
        assert_eq!(lowest(&BTreeMap::new(), b"/b/", 60), 60);
    }
}
