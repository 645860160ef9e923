//! What outlives the process beside the issuance log: one trait for the keyring and the bootstrap's marker, one for
//! the seal key. Both have a form for folders of one process, and one for Secrets that replicas share.

use crate::domain::aead::{KEY_LEN, Secret};
use crate::error::{Error, KeyringProblem};
use zeroize::Zeroizing;

/// Name of the keyring, as a file and as a key of a Secret.
pub(super) const KEYRING: &str = "keyring.sealed";
/// Name of the seal key.
pub(super) const SEAL_KEY: &str = "seal.key";
/// Name of the bootstrap's marker.
pub(super) const MARKER: &str = "bootstrap-complete";

/// Where the sealed keyring and the bootstrap's marker are.
#[tonic::async_trait]
pub trait State: Send + Sync {
    /// Whether there was a keyring once, as something else than the keyring tells. Asked before [`Self::keyring`]:
    /// then a keyring that another replica makes meanwhile is seen by the second question if by the first.
    async fn had_keyring(&self) -> Result<bool, Error>;

    /// The sealed keyring, if there is one.
    async fn keyring(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error>;

    /// Puts a keyring where there is none. One that another replica has put there meanwhile stays.
    async fn offer_keyring(&self, sealed: &[u8]) -> Result<(), Error>;

    /// Makes [`Self::had_keyring`] true, before the first certificate is issued.
    async fn keyring_opened(&self) -> Result<(), Error>;

    /// What to say when there was a keyring and is none.
    fn keyring_lost(&self) -> KeyringProblem;

    /// Whether the marker is there.
    async fn bootstrap_completed(&self) -> Result<bool, Error>;

    /// Puts the marker there, durably.
    async fn complete_bootstrap(&self, now: i64) -> Result<(), Error>;
}

/// Where the seal key is.
#[tonic::async_trait]
pub trait Seal: Send + Sync {
    /// The key, if there is one.
    async fn key(&self) -> Result<Option<Secret>, Error>;

    /// Puts a key where there is none, durably. One that another replica has put there meanwhile stays.
    async fn offer_key(&self, key: &Secret) -> Result<(), Error>;

    /// Its place, for messages.
    fn place(&self) -> String;
}

/// The seal key that was found at `place`.
pub(super) fn seal_key(bytes: &[u8], place: impl FnOnce() -> String) -> Result<Secret, Error> {
    match <&[u8; KEY_LEN]>::try_from(bytes) {
        Ok(key) => Ok(Secret::new(*key)),
        Err(_) => Err(KeyringProblem::SealKeyLength {
            place: place(),
            length: bytes.len(),
        }
        .into()),
    }
}
