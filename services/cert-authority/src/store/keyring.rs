//! Opening the keyring, or making it once.

use super::state::{Seal, State};
use crate::domain::aead::{self, Secret};
use crate::domain::keyring::Keyring;
use crate::error::{Error, KeyringProblem};

/// Opens the keyring, or makes it when there never was one.
///
/// The seal key is durable before the keyring that needs it is written, so a process killed at any moment of its
/// first start leaves nothing, a seal key alone, or both. Replicas that start at once offer what they made and read
/// back what is there: the first one's, for all.
pub async fn open_or_create(
    state: &dyn State,
    seal: &dyn Seal,
    now: i64,
) -> Result<Keyring, Error> {
    // In this order: who makes them does so the other way round.
    let had_one = state.had_keyring().await?;
    let sealed = state.keyring().await?;
    let keyring = match (sealed, seal.key().await?) {
        (Some(sealed), Some(key)) => Keyring::open(&key, &sealed)?,
        (Some(_), None) => return Err(KeyringProblem::SealKeyLost(seal.place()).into()),
        (None, _) if had_one => return Err(state.keyring_lost().into()),
        (None, key) => create(state, seal, key, now).await?,
    };
    state.keyring_opened().await?;
    Ok(keyring)
}

async fn create(
    state: &dyn State,
    seal: &dyn Seal,
    key: Option<Secret>,
    now: i64,
) -> Result<Keyring, Error> {
    let lost = || KeyringProblem::SealKeyLost(seal.place());
    let key = match key {
        Some(key) => key,
        None => {
            seal.offer_key(&aead::random_secret()?).await?;
            seal.key().await?.ok_or_else(lost)?
        }
    };
    let ours = Keyring::generate(now)?;
    state.offer_keyring(&ours.seal(&key)?).await?;
    let sealed = state.keyring().await?.ok_or_else(|| state.keyring_lost())?;
    let keyring = Keyring::open(&key, &sealed)?;
    if keyring.trust_domain == ours.trust_domain {
        tracing::info!(trust_domain = %keyring.trust_domain, "made the cluster's keyring");
    }
    Ok(keyring)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::folder::{FolderSeal, FolderState};
    use crate::store::state::{KEYRING, SEAL_KEY};
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
        let (state, seal) = (
            FolderState::new(&folders.state),
            FolderSeal::own(&folders.seal),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(open_or_create(&state, &seal, NOW))
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
            KeyringProblem::SealKeyLost(folders.seal.join(SEAL_KEY).display().to_string())
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
}
