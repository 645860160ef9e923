//! What a request may add to the store, as etcd estimates it: a refusal must come before the write.

use super::request::{Op, Txn};

/// What a key costs beside its bytes.
const KEY: u64 = 256;
/// What a lease costs.
pub const LEASE: u64 = 64;

/// Bytes that a transaction adds at most; 0 if it puts nothing, and then it is never refused for want of space.
pub fn of_txn(txn: &Txn) -> u64 {
    let sum = |ops: &[Op]| ops.iter().map(of_op).sum::<u64>();
    sum(&txn.success).max(sum(&txn.failure))
}

fn of_op(op: &Op) -> u64 {
    match op {
        Op::Delete(_) | Op::Range(_) => 0,
        Op::Put(put) => {
            let value = put.value.as_ref().map_or(0, |value| value.len());
            KEY + (put.key.len() + value) as u64
        }
        Op::Txn(txn) => of_txn(txn),
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::KeyRange;
    use super::super::request::{Delete, Put};
    use super::*;

    fn put(value: &'static str) -> Op {
        Op::Put(Put {
            key: "key".into(),
            value: Some(value.into()),
            lease: None,
            prev_kv: false,
        })
    }

    #[test]
    fn the_larger_branch_counts() {
        let txn = Txn {
            success: vec![put("1"), Op::Txn(Txn::of(put("12")))],
            failure: vec![put("1")],
            ..Txn::default()
        };
        assert_eq!(of_txn(&txn), 2 * (KEY + 3) + 3);
    }

    #[test]
    fn deletions_are_free() {
        let delete = Op::Delete(Delete {
            range: KeyRange::prefix(b"a"),
            prev_kv: false,
        });
        assert_eq!(of_txn(&Txn::of(delete)), 0);
    }
}
