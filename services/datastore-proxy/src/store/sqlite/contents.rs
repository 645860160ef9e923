//! What a store holds at its newest revision, for comparing it with another one.

use super::{StoreError, connect, describe};
use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::OpenFlags;
use std::collections::BTreeMap;
use std::path::Path;

/// Each key with the SHA-256 of everything else about it.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// The digest of one key's revision, lease and value.
pub fn entry(revision: i64, lease: i64, value: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&revision.to_be_bytes());
    context.update(&lease.to_be_bytes());
    context.update(value);
    context.finish().as_ref().to_vec()
}

/// The digest of all of it, in hexadecimal.
pub fn digest(contents: &Contents) -> String {
    let mut context = Context::new(&SHA256);
    for (key, entry) in contents {
        context.update(&(key.len() as u64).to_be_bytes());
        context.update(key);
        context.update(entry);
    }
    hexadecimal(context)
}

/// The digest of what `context` was given.
pub fn hexadecimal(context: Context) -> String {
    let digest = context.finish();
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// What the store at `path` holds.
pub fn contents(path: &Path) -> Result<Contents, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let read = || {
        let mut statement = connection.prepare(
            "SELECT key, revision, lease, value FROM log \
             WHERE id IN (SELECT max(id) FROM log GROUP BY key) AND version > 0",
        )?;
        let rows = statement.query_map([], |row| {
            let value = entry(row.get(1)?, row.get(2)?, row.get_ref(3)?.as_blob()?);
            Ok((row.get::<_, Vec<u8>>(0)?, value))
        })?;
        rows.collect::<rusqlite::Result<Contents>>()
    };
    read().map_err(|error| describe(path, "reading", &error))
}
