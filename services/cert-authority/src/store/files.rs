//! Files that are whole or not there, at any moment.

use crate::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Replaces `folder`/`name` (mode 0600): readers see the old content or the new. Survives a crash of the process.
pub fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let temporary = write_beside(folder, name, content, false)?;
    rename(&temporary, &folder.join(name))
}

/// [`replace`] that also survives a crash of the machine once it returned.
pub fn replace_durably(folder: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let temporary = write_beside(folder, name, content, true)?;
    rename(&temporary, &folder.join(name))?;
    sync_folder(folder)
}

/// The content, or `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File {
            action: "reading",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Makes the folder's entries durable.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::File {
            action: "syncing",
            path: folder.to_owned(),
            source,
        })
}

fn write_beside(
    folder: &Path,
    name: &str,
    content: &[u8],
    durably: bool,
) -> Result<PathBuf, Error> {
    let temporary = folder.join(format!(".{name}.new"));
    let write = || {
        // One left by a crash may have any mode and content: begin anew.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        if durably { file.sync_all() } else { Ok(()) }
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(source) => Err(Error::File {
            action: "writing",
            path: temporary,
            source,
        }),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::File {
        action: "replacing",
        path: to.to_owned(),
        source,
    })
}
