//! Values as they are written into a statement: whole batches travel as text, in one trip. Only numbers and
//! hexadecimal digits come out, so nothing needs an escape.

use bytes::Bytes;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes bytes as a binary string.
pub(super) fn bytes(sql: &mut Vec<u8>, bytes: &[u8]) {
    sql.reserve(bytes.len() * 2 + 3);
    sql.extend_from_slice(b"x'");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            sql.extend(DIGITS.get(usize::from(nibble)));
        }
    }
    sql.push(b'\'');
}

/// Writes a number.
pub(super) fn number(sql: &mut Vec<u8>, number: i64) {
    sql.extend_from_slice(number.to_string().as_bytes());
}

/// Writes numbers with commas between them.
pub(super) fn numbers(sql: &mut Vec<u8>, all: impl IntoIterator<Item = i64>) {
    separated(sql, all, number);
}

/// Writes `items` with commas between them.
pub(super) fn separated<T>(
    sql: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            sql.push(b',');
        }
        write(sql, item);
    }
}

/// Statements in as few packets as fit into `limit` bytes each. A longer statement has one of its own.
pub(super) fn packets(statements: Vec<Vec<u8>>, limit: usize) -> Vec<Bytes> {
    let mut packets = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for statement in statements {
        if !open.is_empty() && open.len() + statement.len() + 1 > limit {
            packets.push(std::mem::take(&mut open).into());
        }
        if !open.is_empty() {
            open.push(b';');
        }
        open.extend_from_slice(&statement);
    }
    if !open.is_empty() {
        packets.push(open.into());
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut sql = Vec::new();
        write(&mut sql);
        String::from_utf8(sql).unwrap()
    }

    #[test]
    fn bytes_are_digits_alone() {
        assert_eq!(written(|sql| bytes(sql, b"")), "x''");
        assert_eq!(written(|sql| bytes(sql, b"\0'\\\xff")), "x'00275cff'");
    }

    #[test]
    fn numbers_have_commas_between_them() {
        assert_eq!(written(|sql| numbers(sql, [])), "");
        assert_eq!(
            written(|sql| numbers(sql, [1, -2, i64::MIN])),
            "1,-2,-9223372036854775808"
        );
    }

    #[test]
    fn packets_keep_the_order_and_the_limit() {
        let statements = || ["aa", "bb", "ccccccc", "d"].map(|s| s.as_bytes().to_vec());
        let packets = packets(statements().to_vec(), 5);
        assert_eq!(packets, ["aa;bb", "ccccccc", "d"].map(Bytes::from));
    }
}
