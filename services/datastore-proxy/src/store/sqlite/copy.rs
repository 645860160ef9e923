//! Copies of a store that is in use.

use super::fill::Filler;
use super::schema::PATIENCE;
use super::{SYSTEM, StoreError, connect, describe, failed, note, sibling};
use crate::store::span;
use rusqlite::OpenFlags;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the names of copies in the making have after the store's.
const SUFFIX: &str = ".copy-";

/// A file that is removed with this.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a copy of the store stays behind");
        }
    }
}

/// A copy of the store at `path` as of now, which takes no more space on the disk than what the store holds. Its
/// name is gone when it is returned, so it goes away with the handle, whatever becomes of this process.
pub fn copy(path: &Path) -> Result<File, StoreError> {
    let (file, name) = temporary(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .busy_timeout(PATIENCE)
        .map_err(|error| describe(path, "copying", &error))?;
    // Reads within one transaction, which a writer in WAL mode doesn't wait for.
    let sql = "VACUUM INTO ?1";
    let span = span::statement(SYSTEM, "copying", || sql).entered();
    connection
        .execute(sql, [name.0.to_string_lossy()])
        .map_err(|error| {
            note(&span, &error);
            describe(path, "copying", &error)
        })?;
    Ok(file)
}

/// A store in a temporary file, made by `fill`, which tells below which revision it is compacted. Its name is gone
/// when it is returned.
pub fn collect(
    fill: impl FnOnce(&mut Filler) -> Result<i64, StoreError>,
) -> Result<File, StoreError> {
    let (file, name) = temporary(&std::env::temp_dir().join("datastore-proxy"))?;
    let mut filler = Filler::new(&name.0)?;
    let compacted = fill(&mut filler)?;
    filler.finish(compacted)?;
    Ok(file)
}

/// A new file whose name begins as `path` does.
fn temporary(path: &Path) -> Result<(File, Temporary), StoreError> {
    let name = sibling(path, &format!("{SUFFIX}{:016x}", rand::random::<u64>()));
    // SQLite would make it readable for others; it takes an empty file as well as none.
    let file = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(|error| failed(format!("opening {}", name.display()), error))?;
    Ok((file, Temporary(name)))
}

/// Removes what a process that was killed has left.
pub(super) fn sweep(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let ours = |file: &OsStr| {
        let (file, name) = (file.to_string_lossy(), name.to_string_lossy());
        file.strip_prefix(&*name)
            .is_some_and(|rest| rest.starts_with(SUFFIX))
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if ours(&entry.file_name()) {
            drop(Temporary(entry.path()));
        }
    }
}
