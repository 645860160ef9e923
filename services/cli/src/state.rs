//! What the command line keeps between two runs: one folder per cluster, 0700, with files 0600.
use crate::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOCK_DEADLINE: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

/// Held while one process renews something; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl State {
    /// Makes the folder when it isn't there, and closes it to others.
    ///
    /// # Errors
    /// When the folder can't be made or belongs to somebody else.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|e| Error::state("make", folder, e))?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(|e| Error::state("close to others", folder, e))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// A saved value. What can't be read as one counts as absent: everything here can be had again.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::state("read", &path, error)),
        }
    }

    /// Saves a value, whole or not at all.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(value).map_err(Error::output)?;
        write_private(&self.folder.join(name), &bytes)
    }

    /// Removes a saved value if there is one.
    ///
    /// # Errors
    /// When the file is there and can't be removed.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::state("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Waits until no other process holds the lock of that name, at most a minute.
    ///
    /// # Errors
    /// When the wait is over or the file can't be locked.
    pub fn lock(&self, name: &str) -> Result<Lock, Error> {
        let path = self.folder.join(name);
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|e| Error::state("open", &path, e))?;
        let deadline = Instant::now() + LOCK_DEADLINE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::Error(error)) => return Err(Error::state("lock", &path, error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(Error::Locked { path });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
            }
        }
    }
}

/// Writes a file that only its owner may read, by rename, so that readers see the old or the new one.
///
/// # Errors
/// When the file or its folder can't be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // tempfile makes its files 0600.
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| Error::state("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keeps_others_out() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sextant/default");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let state = State::open(&folder).unwrap();
        state.write("value", &7).unwrap();
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("value")), 0o600);
    }

    #[test]
    fn forgets_what_it_cannot_read() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        assert_eq!(state.read::<u32>("value").unwrap(), None);
        fs::write(home.path().join("value"), "{half").unwrap();
        assert_eq!(state.read::<u32>("value").unwrap(), None);
        state.write("value", &7).unwrap();
        assert_eq!(state.read::<u32>("value").unwrap(), Some(7));
        state.remove("value").unwrap();
        state.remove("value").unwrap();
        assert_eq!(state.read::<u32>("value").unwrap(), None);
    }

    #[test]
    fn lets_one_in_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let held = state.lock("a.lock").unwrap();
        let other = state.clone();
        let waiter = std::thread::spawn(move || other.lock("a.lock").map(|_| ()));
        state.lock("b.lock").unwrap();
        assert!(!waiter.is_finished());
        drop(held);
        waiter.join().unwrap().unwrap();
    }
}
