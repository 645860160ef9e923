//! Refuses transactions that write one key twice.

use super::fault::Fault;
use super::request::{Op, Txn};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};

/// What a list of steps may write.
#[derive(Default)]
struct Writes {
    puts: HashSet<Bytes>,
    deletes: Deletes,
}

/// A set of ranges, merged where they touch: start → end.
#[derive(Default)]
struct Deletes(BTreeMap<Bytes, Bytes>);

impl Deletes {
    fn insert(&mut self, start: Bytes, end: Bytes) {
        if end <= start {
            return;
        }
        let (mut start, mut end) = (start, end);
        while let Some((s, e)) = self
            .0
            .range(..=end.clone())
            .next_back()
            .map(|(s, e)| (s.clone(), e.clone()))
            && e >= start
        {
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    fn contain(&self, key: &Bytes) -> bool {
        self.0
            .range(..=key.clone())
            .next_back()
            .is_some_and(|(_, end)| key < end)
    }
}

/// Checks both lists of `txn`.
pub fn check(txn: &Txn) -> Result<(), Fault> {
    writes(&txn.success)?;
    writes(&txn.failure)?;
    Ok(())
}

fn writes(ops: &[Op]) -> Result<Writes, Fault> {
    let mut all = Writes::default();
    for op in ops {
        // A deletion without an upper bound overlaps nothing, as in etcd.
        if let Op::Delete(delete) = op
            && let Some(end) = delete.range.end()
        {
            all.deletes
                .insert(delete.range.start().clone(), end.clone());
        }
    }
    for op in ops {
        if let Op::Txn(nested) = op {
            add_nested(&mut all, nested)?;
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            add_put(&mut all, put.key.clone())?;
        }
    }
    Ok(all)
}

fn add_nested(all: &mut Writes, nested: &Txn) -> Result<(), Fault> {
    let success = writes(&nested.success)?;
    let failure = writes(&nested.failure)?;
    for key in &success.puts {
        add_put(all, key.clone())?;
    }
    for key in failure.puts {
        // Only one of the two lists is run, so they may share keys.
        if !success.puts.contains(&key) {
            add_put(all, key)?;
        }
    }
    for (start, end) in success.deletes.0.into_iter().chain(failure.deletes.0) {
        all.deletes.insert(start, end);
    }
    Ok(())
}

fn add_put(all: &mut Writes, key: Bytes) -> Result<(), Fault> {
    if all.deletes.contain(&key) || !all.puts.insert(key) {
        return Err(Fault::DuplicateKey);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::range::KeyRange;
    use crate::domain::request::{Delete, Put};

    fn put(key: &'static str) -> Op {
        let value = Some(Bytes::new());
        Op::Put(Put {
            key: key.into(),
            value,
            lease: Some(0),
            prev_kv: false,
        })
    }

    fn delete(key: &'static str, end: &'static str) -> Op {
        let range = KeyRange::parse(key.into(), end.into());
        Op::Delete(Delete {
            range,
            prev_kv: false,
        })
    }

    fn either(success: Vec<Op>, failure: Vec<Op>) -> Op {
        Op::Txn(Txn {
            compares: Vec::new(),
            success,
            failure,
        })
    }

    fn refused(ops: Vec<Op>) -> bool {
        check(&Txn {
            success: ops,
            ..Txn::default()
        })
        .is_err()
    }

    #[test]
    fn refuses_what_would_write_a_key_twice() {
        assert!(refused(vec![put("a"), put("a")]));
        assert!(refused(vec![put("b"), delete("a", "c")]));
        assert!(refused(vec![put("b"), delete("b", "")]));
        assert!(refused(vec![put("a"), either(vec![put("a")], vec![])]));
        assert!(refused(vec![
            delete("a", "c"),
            either(vec![], vec![put("b")])
        ]));
        assert!(refused(vec![
            either(vec![delete("a", "c")], vec![]),
            put("b")
        ]));
        assert!(refused(vec![
            either(vec![put("a")], vec![]),
            either(vec![put("a")], vec![])
        ]));
    }

    #[test]
    fn allows_the_rest() {
        assert!(!refused(vec![put("a"), put("b"), delete("c", "d")]));
        assert!(!refused(vec![delete("a", "c"), delete("b", "d")]));
        assert!(!refused(vec![either(vec![put("a")], vec![put("a")])]));
        assert!(!refused(vec![put("c"), delete("a", "c")]));
    }

    #[test]
    fn merges_ranges() {
        let mut deletes = Deletes::default();
        for (start, end) in [("a", "c"), ("e", "g"), ("b", "f"), ("x", "y")] {
            deletes.insert(start.into(), end.into());
        }
        assert_eq!(deletes.0.len(), 2);
        assert!(deletes.contain(&"d".into()) && !deletes.contain(&"g".into()));
    }
}
