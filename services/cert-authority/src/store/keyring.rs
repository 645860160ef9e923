//! The keyring's place: sealed in one folder, its seal key in another.

use super::files;
use crate::domain::aead::{self, KEY_LEN, Secret};
use crate::domain::keyring::Keyring;
use crate::error::{Error, KeyringProblem};
use std::fs::File;
use std::path::Path;

const KEYRING: &str = "keyring.sealed";
const SEAL_KEY: &str = "seal.key";
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

/// Opens the keyring, or makes it when there never was one.
///
/// The seal key is durable before the keyring that needs it is written, so a process killed at any moment of its
/// first start leaves nothing, a seal key alone, or both.
pub fn open_or_create(state: &Path, seal: &Path, now: i64) -> Result<Keyring, Error> {
    let seal_path = seal.join(SEAL_KEY);
    let seal_key = seal_key(&seal_path)?;
    match (files::read(&state.join(KEYRING))?, seal_key) {
        (Some(sealed), Some(seal_key)) => Keyring::open(&seal_key, &sealed),
        (Some(_), None) => Err(KeyringProblem::SealKeyLost(seal_path).into()),
        (None, seal_key) => {
            if super::issued::exists(state)? {
                return Err(KeyringProblem::Lost(state.to_owned()).into());
            }
            create(state, seal, seal_key, now)
        }
    }
}

fn create(state: &Path, seal: &Path, seal_key: Option<Secret>, now: i64) -> Result<Keyring, Error> {
    let seal_key = match seal_key {
        Some(key) => key,
        None => {
            let key = aead::random_secret()?;
            files::replace_durably(seal, SEAL_KEY, key.as_ref())?;
            key
        }
    };
    let keyring = Keyring::generate(now)?;
    files::replace_durably(state, KEYRING, &keyring.seal(&seal_key)?)?;
    tracing::info!(trust_domain = %keyring.trust_domain, "made the cluster's keyring");
    Ok(keyring)
}

fn seal_key(path: &Path) -> Result<Option<Secret>, Error> {
    let Some(bytes) = files::read(path)? else {
        return Ok(None);
    };
    let key: &[u8; KEY_LEN] =
        bytes
            .as_slice()
            .try_into()
            .map_err(|_| KeyringProblem::SealKeyLength {
                path: path.to_owned(),
                length: bytes.len(),
            })?;
    Ok(Some(Secret::new(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const NOW: i64 = 1_795_000_000;

    struct Folders {
        state: PathBuf,
        seal: PathBuf,
        _root: tempfile::TempDir,
    }

    fn folders() -> Folders {
        let root = tempfile::tempdir().unwrap();
        let (state, seal) = (root.path().join("state"), root.path().join("seal"));
        fs::create_dir(&state).unwrap();
        fs::create_dir(&seal).unwrap();
        Folders {
            state,
            seal,
            _root: root,
        }
    }

    fn open(folders: &Folders) -> Result<Keyring, Error> {
        open_or_create(&folders.state, &folders.seal, NOW)
    }

    fn problem(folders: &Folders) -> KeyringProblem {
        match open(folders) {
            Err(Error::Keyring(problem)) => problem,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("opened"),
        }
    }

    #[test]
    fn the_second_start_opens_what_the_first_made() {
        let folders = folders();
        let first = open(&folders).unwrap();
        let second = open(&folders).unwrap();
        assert_eq!(first.trust_domain, second.trust_domain);
        for path in [folders.state.join(KEYRING), folders.seal.join(SEAL_KEY)] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    /// Every state of both folders that a killed first start can leave, found by stopping after each step.
    #[test]
    fn a_first_start_killed_at_any_step_starts_again() {
        let done = folders();
        open(&done).unwrap();
        let seal_key = fs::read(done.seal.join(SEAL_KEY)).unwrap();
        let keyring = fs::read(done.state.join(KEYRING)).unwrap();
        let steps: [&dyn Fn(&Folders); 5] = [
            &|_| {},
            &|f| fs::write(f.seal.join(".seal.key.new"), &seal_key[..7]).unwrap(),
            &|f| fs::write(f.seal.join(SEAL_KEY), &seal_key).unwrap(),
            &|f| {
                fs::write(f.seal.join(SEAL_KEY), &seal_key).unwrap();
                fs::write(f.state.join(".keyring.sealed.new"), &keyring[..100]).unwrap();
            },
            &|f| {
                fs::write(f.seal.join(SEAL_KEY), &seal_key).unwrap();
                fs::write(f.state.join(".keyring.sealed.new"), &keyring).unwrap();
            },
        ];
        for (number, step) in steps.iter().enumerate() {
            let folders = folders_after(step);
            let first = open(&folders).unwrap_or_else(|e| panic!("step {number}: {e}"));
            assert_eq!(open(&folders).unwrap().trust_domain, first.trust_domain);
        }
    }

    fn folders_after(step: &dyn Fn(&Folders)) -> Folders {
        let folders = folders();
        step(&folders);
        folders
    }

    #[test]
    fn a_keyring_without_its_seal_key_says_what_to_restore() {
        let folders = folders();
        open(&folders).unwrap();
        fs::remove_file(folders.seal.join(SEAL_KEY)).unwrap();
        let problem = problem(&folders);
        assert_eq!(
            problem,
            KeyringProblem::SealKeyLost(folders.seal.join(SEAL_KEY))
        );
        assert!(problem.to_string().contains("restore seal.key"));
        assert!(!folders.seal.join(SEAL_KEY).exists());
    }

    #[test]
    fn a_damaged_keyring_is_never_replaced() {
        let folders = folders();
        open(&folders).unwrap();
        let path = folders.state.join(KEYRING);
        let whole = fs::read(&path).unwrap();
        for length in [0, 3, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let _ = problem(&folders);
            assert_eq!(fs::read(&path).unwrap(), &whole[..length]);
        }
    }

    #[test]
    fn a_lost_keyring_is_not_made_anew_over_a_used_log() {
        let folders = folders();
        open(&folders).unwrap();
        fs::write(folders.state.join("issued.log"), "row\n").unwrap();
        fs::remove_file(folders.state.join(KEYRING)).unwrap();
        assert_eq!(
            problem(&folders),
            KeyringProblem::Lost(folders.state.clone())
        );
    }

    #[test]
    fn a_cut_seal_key_and_a_foreign_one_are_named() {
        let folders = folders();
        open(&folders).unwrap();
        fs::write(folders.seal.join(SEAL_KEY), [0; 31]).unwrap();
        assert!(matches!(
            problem(&folders),
            KeyringProblem::SealKeyLength { length: 31, .. }
        ));
        fs::write(folders.seal.join(SEAL_KEY), [0; 32]).unwrap();
        assert_eq!(problem(&folders), KeyringProblem::OtherSealKey);
    }

    #[test]
    fn one_process_at_a_time() {
        let folders = folders();
        let held = lock(&folders.state).unwrap();
        assert!(matches!(lock(&folders.state), Err(Error::Locked(_))));
        drop(held);
        lock(&folders.state).unwrap();
    }
}
