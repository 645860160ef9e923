//! A state folder for each replica, where several share one volume.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::error::Error;

/// More replicas than anybody runs on one volume.
const MOST: u32 = 32;

/// A folder that no other process uses, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) folder: PathBuf,
    /// The kernel gives it back whatever way the process ends.
    _lock: File,
}

impl Slot {
    /// `state` itself for the first replica on it, `state/replica-2` and so on for others: always the lowest that is
    /// free, so a container that is made anew finds what its predecessor kept.
    pub(crate) fn take(state: &Path) -> Result<Self, Error> {
        for number in 1..=MOST {
            let folder = match number {
                1 => state.to_owned(),
                other => state.join(format!("replica-{other}")),
            };
            if let Some(slot) = Self::lock(folder)? {
                if number > 1 {
                    let folder = slot.folder.display();
                    tracing::info!(%folder, "another replica uses the state folder: taking one of its own");
                }
                return Ok(slot);
            }
        }
        Err(Error::Crowded(state.to_owned(), MOST))
    }

    /// None when another process has it.
    fn lock(folder: PathBuf) -> Result<Option<Self>, Error> {
        let mut private = fs::DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(Error::file("making", &folder))?;
        let path = folder.join("replica.lock");
        let lock = File::create(&path).map_err(Error::file("writing", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                folder,
                _lock: lock,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::file("locking", path)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replica_has_the_lowest_folder_that_is_free() {
        let state = tempfile::tempdir().unwrap();
        let take = || Slot::take(state.path()).unwrap();
        let (first, second, third) = (take(), take(), take());
        assert_eq!(first.folder, state.path());
        assert_eq!(second.folder, state.path().join("replica-2"));
        assert_eq!(third.folder, state.path().join("replica-3"));
        drop(second);
        assert_eq!(take().folder, state.path().join("replica-2"));
        drop(first);
        assert_eq!(take().folder, state.path());
    }

    #[test]
    fn too_many_are_refused() {
        let state = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..MOST)
            .map(|_| Slot::take(state.path()).unwrap())
            .collect();
        let refused = Slot::take(state.path()).unwrap_err().to_string();
        assert!(refused.contains("32 replicas"), "{refused}");
        drop(all);
    }
}
