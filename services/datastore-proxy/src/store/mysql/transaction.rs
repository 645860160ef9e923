//! What stores a batch: statements as text with its values in it, and as spans tell them, without.

use super::literal::{bytes, number, numbers, separated};
use crate::domain::state::Write;
use crate::domain::version::Row;
use crate::store::batch::Batch;
use bytes::Bytes;

/// Bytes of rows in one statement.
const STATEMENT: usize = 4 << 20;

const ROWS: &str = "INSERT INTO log (id, revision, name, create_revision, version, lease, value) \
                    VALUES (?, ?, ?, ?, ?, ?, ?)";
const GRANT: &str = "INSERT INTO lease (id, ttl, deadline, owner) VALUES (?, ?, ?, ?) \
                     ON DUPLICATE KEY UPDATE ttl = VALUES(ttl), deadline = VALUES(deadline), owner = VALUES(owner)";
const RENEW: &str = "UPDATE lease SET deadline = CASE id WHEN ? THEN ? END WHERE id IN (?)";

/// A statement of the transaction.
#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    sent: Vec<u8>,
    /// With a placeholder for each value; what is listed stands there once.
    shown: &'static str,
}

impl Statement {
    /// With numbers for the placeholders.
    fn of_numbers(shown: &'static str, values: &[i64]) -> Self {
        let mut values = values.iter();
        let mut sent = Vec::with_capacity(shown.len() + 64);
        for (place, text) in shown.split('?').enumerate() {
            if place > 0 {
                numbers(&mut sent, values.next().copied());
            }
            sent.extend_from_slice(text.as_bytes());
        }
        Self { sent, shown }
    }

    /// With a list of numbers for the only placeholder.
    fn of_list(shown: &'static str, ids: impl IntoIterator<Item = i64>) -> Self {
        let (before, after) = around(shown, "?");
        let mut sent = before.as_bytes().to_vec();
        numbers(&mut sent, ids);
        sent.extend_from_slice(after.as_bytes());
        Self { sent, shown }
    }
}

/// What stands before and after the first `part` of a text.
fn around(text: &'static str, part: &str) -> (&'static str, &'static str) {
    text.split_once(part).unwrap_or((text, ""))
}

/// The statements that store a batch.
pub(super) fn transaction(
    batch: &Batch,
    epoch: i64,
    batch_number: i64,
    applied: Row,
) -> Vec<Statement> {
    let mut statements = vec![
        Statement::of_numbers("START TRANSACTION", &[]),
        // Holds the row of the term until the end: a campaign waits for it, or came first and is seen here.
        Statement::of_numbers(
            "UPDATE writer SET beat = beat + 1, applied = GREATEST(applied, ?), batch = ? WHERE epoch = ?",
            &[applied, batch_number, epoch],
        ),
        // Where the term is somebody else's this row is there already, so the transaction ends here.
        Statement::of_numbers(
            "INSERT INTO guard (id) SELECT 1 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM writer WHERE epoch = ?)",
            &[epoch],
        ),
    ];
    statements.extend(inserts(&batch.writes));
    statements.extend(leases(batch));
    if !batch.removed.is_empty() {
        let rows = batch.removed.iter().copied();
        statements.push(Statement::of_list("DELETE FROM log WHERE id IN (?)", rows));
    }
    if let Some(compacted) = batch.compacted {
        statements.push(Statement::of_numbers(
            "UPDATE meta SET value = GREATEST(value, ?) WHERE name = 'compacted'",
            &[compacted],
        ));
    }
    if let Some(alarms) = batch.alarms {
        statements.push(Statement::of_numbers(
            "INSERT INTO meta (name, value) VALUES ('alarms', ?) ON DUPLICATE KEY UPDATE value = VALUES(value)",
            &[alarms.to_bits()],
        ));
    }
    statements.push(Statement::of_numbers("COMMIT", &[]));
    statements
}

/// Rows of the log, in statements of a bounded size.
fn inserts(writes: &[Write]) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let statement = |sent| Statement { sent, shown: ROWS };
    for write in writes {
        if open.len() > STATEMENT {
            statements.push(statement(std::mem::take(&mut open)));
        }
        if open.is_empty() {
            open.extend_from_slice(around(ROWS, "(?").0.as_bytes());
        } else {
            open.push(b',');
        }
        let version = &write.version;
        open.push(b'(');
        numbers(&mut open, [version.row, version.mod_revision]);
        open.push(b',');
        bytes(&mut open, &write.key);
        open.push(b',');
        numbers(
            &mut open,
            [version.create_revision, version.version, version.lease],
        );
        open.push(b',');
        bytes(&mut open, &write.value);
        open.push(b')');
    }
    if !open.is_empty() {
        statements.push(statement(open));
    }
    statements
}

/// What becomes of leases.
fn leases(batch: &Batch) -> Vec<Statement> {
    let mut statements = Vec::new();
    if !batch.granted.is_empty() {
        let (before, after) = around(GRANT, "(?, ?, ?, ?)");
        let mut sent = before.as_bytes().to_vec();
        separated(&mut sent, batch.granted.values(), |sql, lease| {
            sql.push(b'(');
            numbers(sql, [lease.id, lease.ttl, lease.deadline]);
            sql.push(b',');
            bytes(sql, lease.owner.as_bytes());
            sql.push(b')');
        });
        sent.extend_from_slice(after.as_bytes());
        statements.push(Statement { sent, shown: GRANT });
    }
    if !batch.renewed.is_empty() {
        let (before, rest) = around(RENEW, " WHEN ? THEN ?");
        let (until, after) = around(rest, "?");
        let mut sent = before.as_bytes().to_vec();
        for (id, deadline) in &batch.renewed {
            sent.extend_from_slice(b" WHEN ");
            number(&mut sent, *id);
            sent.extend_from_slice(b" THEN ");
            number(&mut sent, *deadline);
        }
        sent.extend_from_slice(until.as_bytes());
        numbers(&mut sent, batch.renewed.keys().copied());
        sent.extend_from_slice(after.as_bytes());
        statements.push(Statement { sent, shown: RENEW });
    }
    if !batch.ended.is_empty() {
        let ids = batch.ended.iter().copied();
        statements.push(Statement::of_list("DELETE FROM lease WHERE id IN (?)", ids));
    }
    statements
}

/// Statements in as few packets as fit into `limit` bytes each. A longer statement has one of its own.
pub(super) fn packets(statements: Vec<Statement>, limit: usize) -> Vec<Bytes> {
    let mut packets = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for Statement { sent, .. } in statements {
        if !open.is_empty() && open.len() + sent.len() + 1 > limit {
            packets.push(std::mem::take(&mut open).into());
        }
        if !open.is_empty() {
            open.push(b';');
        }
        open.extend_from_slice(&sent);
    }
    if !open.is_empty() {
        packets.push(open.into());
    }
    packets
}

/// The statements as spans tell them. Of several that are alike one is told.
pub(super) fn shown(statements: &[Statement]) -> String {
    let mut shown: Vec<&str> = statements.iter().map(|one| one.shown).collect();
    shown.dedup();
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::Lease;
    use crate::domain::version::Version;

    fn write(row: Row, value: &[u8]) -> Write {
        let version = Version {
            row,
            mod_revision: 7,
            create_revision: 6,
            version: 2,
            lease: 0,
        };
        Write {
            key: Bytes::from_static(b"k"),
            version,
            value: Bytes::copy_from_slice(value),
            previous: None,
        }
    }

    fn sent(statements: &[Statement]) -> Vec<&str> {
        fn text(one: &Statement) -> &str {
            std::str::from_utf8(&one.sent).unwrap()
        }
        statements.iter().map(text).collect()
    }

    fn everything() -> Batch {
        let lease = Lease {
            id: 3,
            ttl: 5,
            deadline: 50,
            owner: "o".into(),
        };
        Batch {
            writes: vec![write(11, b"ab"), write(12, b"")],
            granted: [(3, lease)].into(),
            renewed: [(1, 10), (2, 20)].into(),
            ended: [4, 5].into(),
            compacted: Some(6),
            alarms: Some(crate::domain::alarm::Alarms::from_bits(0)),
            removed: vec![8, 9],
        }
    }

    #[test]
    fn values_take_the_places_of_the_placeholders() {
        let statements = transaction(&everything(), 2, 30, 10);
        assert_eq!(
            sent(&statements),
            [
                "START TRANSACTION",
                "UPDATE writer SET beat = beat + 1, applied = GREATEST(applied, 10), batch = 30 WHERE epoch = 2",
                "INSERT INTO guard (id) SELECT 1 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM writer WHERE epoch = 2)",
                "INSERT INTO log (id, revision, name, create_revision, version, lease, value) VALUES \
                 (11,7,x'6b',6,2,0,x'6162'),(12,7,x'6b',6,2,0,x'')",
                "INSERT INTO lease (id, ttl, deadline, owner) VALUES (3,5,50,x'6f') ON DUPLICATE KEY UPDATE \
                 ttl = VALUES(ttl), deadline = VALUES(deadline), owner = VALUES(owner)",
                "UPDATE lease SET deadline = CASE id WHEN 1 THEN 10 WHEN 2 THEN 20 END WHERE id IN (1,2)",
                "DELETE FROM lease WHERE id IN (4,5)",
                "DELETE FROM log WHERE id IN (8,9)",
                "UPDATE meta SET value = GREATEST(value, 6) WHERE name = 'compacted'",
                "INSERT INTO meta (name, value) VALUES ('alarms', 0) ON DUPLICATE KEY UPDATE value = VALUES(value)",
                "COMMIT",
            ]
        );
    }

    #[test]
    fn what_spans_tell_has_no_value_in_it() {
        let told = shown(&transaction(&everything(), 2, 30, 10));
        let digits: String = told.chars().filter(char::is_ascii_digit).collect();
        // `beat + 1` and `SELECT 1`, twice.
        assert_eq!(digits, "111", "{told}");
        assert!(!told.contains("x'"), "{told}");
        assert!(told.contains("VALUES (?, ?, ?, ?, ?, ?, ?); "), "{told}");
        assert!(told.starts_with("START TRANSACTION; ") && told.ends_with("; COMMIT"));
    }

    #[test]
    fn large_batches_are_several_statements_that_are_told_once() {
        let large = vec![0; STATEMENT];
        let writes = [write(1, &large), write(2, b""), write(3, b"")];
        let statements = inserts(&writes);
        assert_eq!(statements.len(), 2);
        assert_eq!(shown(&statements), ROWS);
    }

    #[test]
    fn packets_keep_the_order_and_the_limit() {
        let statements = ["aa", "bb", "ccccccc", "d"].map(|sent| Statement {
            sent: sent.as_bytes().to_vec(),
            shown: "",
        });
        let packets = packets(statements.into(), 5);
        assert_eq!(packets, ["aa;bb", "ccccccc", "d"].map(Bytes::from));
    }
}
