//! A Unix socket that only root may open.

use crate::error::{Error, Result};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::UnixListener;

/// Listens on `path`. The socket appears there by rename, when nobody but root can open it any more; that of an
/// earlier run is replaced.
pub fn bind(path: &Path) -> Result<UnixListener> {
    make(path).map_err(|source| Error::Socket {
        path: path.to_owned(),
        source,
    })
}

fn make(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unready = path.with_extension("new");
    match fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unready)?;
    fs::set_permissions(&unready, Permissions::from_mode(0o600))?;
    fs::rename(&unready, path)?;
    Ok(listener)
}
