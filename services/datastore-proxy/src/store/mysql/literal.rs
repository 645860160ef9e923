//! Values as they are written into a statement: whole batches travel as text, in one trip. Only numbers and
//! hexadecimal digits come out, so nothing needs an escape.

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
}
