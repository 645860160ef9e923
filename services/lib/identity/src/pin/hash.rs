//! The hash by which a join token pins its cluster.

use crate::error::Error;
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of the mesh CA bundle as `/cacerts` serves it. Parsed from a join token, `K10<hash>::<id>:<secret>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaHash(pub [u8; 32]);

impl CaHash {
    /// Hash of a bundle.
    pub fn of(pem: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, pem).as_ref());
        Self(hash)
    }

    /// Whether both are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl FromStr for CaHash {
    type Err = Error;

    /// Of a whole join token. The token never stands in the error.
    fn from_str(token: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Invalid {
            what: "join token".to_owned(),
            reason: reason.to_owned(),
        };
        let rest = token.trim().strip_prefix("K10").ok_or_else(|| {
            invalid("it has no CA hash (K10…::id:secret), so the server could not be verified")
        })?;
        let (hex, _) = rest
            .split_once("::")
            .ok_or_else(|| invalid("no `::` after the CA hash"))?;
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid("the CA hash must be 64 hexadecimal digits"));
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16)
                .map_err(|_| invalid("the CA hash must be 64 hexadecimal digits"))?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_bundle_agree() {
        let hash = CaHash::of(b"-----BEGIN CERTIFICATE-----\n");
        let token = format!("K10{hash}::abcdefghij:secret\n");
        assert!(token.parse::<CaHash>().unwrap().matches(&hash));
    }

    #[test]
    fn refuses_broken_tokens_without_repeating_them() {
        let zeros = "0".repeat(64);
        for token in [
            "abcdefghij:secret".to_owned(),
            format!("K10{zeros}:abcdefghij:secret"),
            format!("K10{}::abcdefghij:secret", &zeros[1..]),
            format!("K10{}+0::abcdefghij:secret", &zeros[2..]),
            format!("K10{}g::abcdefghij:secret", &zeros[1..]),
        ] {
            let error = token.parse::<CaHash>().unwrap_err().to_string();
            assert!(
                !error.contains("secret:") && !error.contains("abcdefghij"),
                "{error}"
            );
        }
    }
}
