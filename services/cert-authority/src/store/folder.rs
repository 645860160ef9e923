//! State and seal key in folders, for one process at a time.

use super::state::{KEYRING, MARKER, SEAL_KEY, Seal, State, seal_key};
use super::{files, issued};
use crate::domain::aead::Secret;
use crate::error::{Error, KeyringProblem};
use std::fs::File;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const LOCK: &str = "lock";

/// Holds the state folder for this process; the system lets go when the process ends.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "held for its drop")] File);

/// Takes the state folder. Two processes would break each other's issuance log.
pub fn lock(state: &Path) -> Result<StateLock, Error> {
    let path = state.join(LOCK);
    let failed = |source| Error::File {
        action: "locking",
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(StateLock(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked(state.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// State in a folder, beside the issuance log.
#[derive(Debug)]
pub struct FolderState(PathBuf);

/// The seal key in a folder.
#[derive(Debug)]
pub struct FolderSeal {
    folder: PathBuf,
    shared: bool,
}

impl FolderState {
    /// In the folder of this process alone, see [`lock`].
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

impl FolderSeal {
    /// For this process alone: a key that isn't there is made.
    pub fn own(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            shared: false,
        }
    }

    /// For replicas that share the state but not the folder: each would make a key of its own.
    pub fn shared(folder: &Path) -> Self {
        Self {
            shared: true,
            ..Self::own(folder)
        }
    }
}

#[tonic::async_trait]
impl State for FolderState {
    async fn had_keyring(&self) -> Result<bool, Error> {
        let folder = self.0.clone();
        blocking(move || issued::exists(&folder)).await
    }

    async fn keyring(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.0.join(KEYRING);
        blocking(move || files::read(&path)).await
    }

    async fn offer_keyring(&self, sealed: &[u8]) -> Result<(), Error> {
        let (folder, sealed) = (self.0.clone(), sealed.to_vec());
        blocking(move || files::replace_durably(&folder, KEYRING, &sealed)).await
    }

    async fn keyring_opened(&self) -> Result<(), Error> {
        // The log tells.
        Ok(())
    }

    fn keyring_lost(&self) -> KeyringProblem {
        KeyringProblem::Lost(self.0.clone())
    }

    async fn bootstrap_completed(&self) -> Result<bool, Error> {
        let path = self.0.join(MARKER);
        blocking(move || Ok(files::read(&path)?.is_some())).await
    }

    async fn complete_bootstrap(&self, now: i64) -> Result<(), Error> {
        let folder = self.0.clone();
        let text = format!("{now}\n");
        blocking(move || files::replace_durably(&folder, MARKER, text.as_bytes())).await
    }
}

#[tonic::async_trait]
impl Seal for FolderSeal {
    async fn key(&self) -> Result<Option<Secret>, Error> {
        let path = self.folder.join(SEAL_KEY);
        let found = blocking(move || files::read(&path)).await?;
        let key = found.map(|bytes| seal_key(&bytes, || self.place()));
        key.transpose()
    }

    async fn offer_key(&self, key: &Secret) -> Result<(), Error> {
        if self.shared {
            return Err(KeyringProblem::SealKeyWanted(self.place()).into());
        }
        let (folder, key) = (self.folder.clone(), key.clone());
        blocking(move || files::replace_durably(&folder, SEAL_KEY, key.as_ref())).await
    }

    fn place(&self) -> String {
        self.folder.join(SEAL_KEY).display().to_string()
    }
}

/// Disks may be slow, and fsync is.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Stopping)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(Error::Locked(_))));
        drop(held);
        lock(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn a_shared_seal_is_given_and_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let seal = FolderSeal::shared(folder.path());
        let made = seal.offer_key(&Secret::new([7; 32])).await.unwrap_err();
        assert!(made.to_string().contains("hosting.seal"), "{made}");
        assert!(seal.key().await.unwrap().is_none());
        std::fs::write(folder.path().join(SEAL_KEY), [7; 32]).unwrap();
        assert!(seal.key().await.unwrap() == Some(Secret::new([7; 32])));
    }
}
