use super::*;
use proptest::prelude::*;

/// A write of the key with this number, or its deletion.
type Step = (u8, bool);

fn key(number: u8) -> Bytes {
    // Some keys are the beginning of others.
    Bytes::from(format!("k{:b}", number % 64))
}

fn range(start: u8, end: Option<u8>) -> KeyRange {
    KeyRange::parse(key(start), end.map_or(Bytes::from_static(&[0]), key))
}

/// The index after `steps`, the first of which makes revision 2, and what it should hold.
fn run(steps: &[Step]) -> (Index, BTreeMap<Bytes, Vec<Version>>) {
    let mut index = Index::default();
    let mut model: BTreeMap<Bytes, Vec<Version>> = BTreeMap::new();
    for ((number, deletes), row) in steps.iter().zip(1..) {
        let key = key(*number);
        let put = Version {
            row,
            mod_revision: row + 1,
            create_revision: row + 1,
            version: 1,
            lease: 0,
        };
        let version = if *deletes {
            Version::tombstone(row, row + 1)
        } else {
            put
        };
        index.insert(&key, version);
        model.entry(key).or_default().push(version);
    }
    (index, model)
}

fn expected<'m>(
    model: &'m BTreeMap<Bytes, Vec<Version>>,
    range: &KeyRange,
    revision: i64,
) -> Vec<(&'m Bytes, &'m Version)> {
    let in_force = |versions: &'m Vec<Version>| {
        let mut older = versions.iter().rev();
        let found = older.find(|version| version.mod_revision <= revision);
        found.filter(|version| !version.is_tombstone())
    };
    model
        .iter()
        .filter(|(key, _)| range.contains(key))
        .filter_map(|(key, versions)| Some((key, in_force(versions)?)))
        .collect()
}

proptest! {
    #[test]
    fn ranges_and_counts_are_those_of_a_plain_map(
        steps in prop::collection::vec((any::<u8>(), prop::bool::weighted(0.3)), 0..200),
        queries in prop::collection::vec((any::<u8>(), any::<Option<u8>>(), 1..210_i64), 20),
        compacted in prop::option::of(2..200_i64),
        step_keys in 1..40_usize,
    ) {
        let (mut index, model) = run(&steps);
        if let Some(revision) = compacted {
            let mut from = Some(Bytes::new());
            while let Some(key) = from {
                from = index.compact(&key, step_keys, revision).next;
            }
        }
        let newest = i64::try_from(steps.len()).unwrap() + 1;
        for (start, end, revision) in queries {
            let range = range(start, end);
            let revision = revision.max(compacted.unwrap_or(0));
            for revision in [revision, newest.max(revision)] {
                let found: Vec<_> = index.iter(&range, revision).collect();
                prop_assert_eq!(&found, &expected(&model, &range, revision));
                prop_assert_eq!(index.count(&range, revision), found.len());
                for (key, version) in found {
                    prop_assert_eq!(index.get(key, revision), Some(version));
                }
            }
        }
    }
}

#[test]
fn keys_in_order_fill_their_chunks() {
    let steps: Vec<Step> = (0..64).map(|number| (number, false)).collect();
    let (mut index, mut sorted) = (Index::default(), run(&steps).1);
    while let Some((key, versions)) = sorted.pop_first() {
        index.insert(&key, versions[0]);
    }
    assert_eq!(index.len(), 64);
    assert_eq!(index.chunks.len(), 8);
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let steps: Vec<Step> = (0..64).map(|number| (number, false)).collect();
    let (index, _) = run(&steps);
    let backwards = range(63, Some(0));
    assert_eq!(index.iter(&backwards, 100).count(), 0);
    assert_eq!(index.count(&backwards, 100), 0);
}
