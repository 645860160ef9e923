//! One row and its line.

use crate::domain::hex::hex;
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// No line is longer; a longer one is damage.
pub(super) const MAX_LINE: usize = 64 * 1024;
/// What the first row names as its predecessor.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH_LEN: usize = 64;

/// What is recorded of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// When it was issued, seconds since 1970.
    pub issued: i64,
    /// SPIFFE id that asked.
    pub requester: String,
    /// Name of the profile in the contract.
    pub profile: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Subject.
    pub subject: String,
    /// Subject alternative names, each with its kind.
    pub sans: Vec<String>,
    /// Start of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the DER, hexadecimal.
    pub fingerprint: String,
}

/// A certificate in its place in the chain.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// Hash of the line before.
    pub(super) previous: String,
    /// From 1, without gaps.
    pub(super) sequence: u64,
    /// The newest row that was durable when this one was written.
    pub(super) durable: u64,
    pub(super) certificate: Certificate,
}

/// The part of a row that holds the chain together.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) previous: String,
    pub(super) sequence: u64,
    pub(super) durable: u64,
}

/// The line of `row` with its newline, and its hash.
pub(super) fn encode(row: &Row) -> Result<(Vec<u8>, String), serde_json::Error> {
    let json = serde_json::to_vec(row)?;
    let hash = hex(digest(&SHA256, &json).as_ref());
    Ok(([hash.as_bytes(), b" ", &json, b"\n"].concat(), hash))
}

/// The JSON and the hash of a line (with or without its newline), if the hash is right.
pub(super) fn check(line: &[u8]) -> Option<(&[u8], &str)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (hash, rest) = line.split_at_checked(HASH_LEN)?;
    let json = rest.strip_prefix(b" ")?;
    let hash = std::str::from_utf8(hash).ok()?;
    (hex(digest(&SHA256, json).as_ref()) == hash).then_some((json, hash))
}
