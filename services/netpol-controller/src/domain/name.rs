//! Names made from content: what means the same has the same name, on every node and after every restart.
//!
//! Tenants choose what is hashed, so the hash must resist collisions, and the encoding must be unambiguous: it is
//! the one of `derive(Hash)`, which writes lengths and discriminants.

use aws_lc_rs::digest::{Context, SHA256};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Name of a set or chain.
pub type Name = Arc<str>;

/// `prefix` followed by 128 bits of the content's SHA-256 in hex.
pub fn name_of(prefix: &str, content: &impl Hash) -> Name {
    let mut hasher = Sha256Hasher(Context::new(&SHA256));
    content.hash(&mut hasher);
    let digest = hasher.0.finish();
    let mut name = String::with_capacity(prefix.len() + 33);
    name.push_str(prefix);
    for byte in &digest.as_ref()[..16] {
        // Writing to a String can't fail.
        let _ = write!(name, "{byte:02x}");
    }
    name.into()
}

struct Sha256Hasher(Context);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Only the digest is used.
        0
    }
}
