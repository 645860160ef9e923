//! The private volume of an identity: its enrolment token and the anchor to pin.

use super::files;
use crate::domain::enrolment::{EnrolmentTokens, NONCE_LEN};
use crate::error::Error;
use sextant_identity::Identity;
use std::io;
use std::path::{Path, PathBuf};

const TOKEN: &str = "token";
const ANCHOR: &str = "ca.pem";

/// Keeps one identity's volume fresh.
#[derive(Debug)]
pub struct Volume {
    identity: Identity,
    folder: PathBuf,
    /// When the token was written; `None` before the first time.
    written: Option<i64>,
}

impl Volume {
    /// The volume of `identity` under `root`.
    pub fn new(root: &Path, name: &str, identity: Identity) -> Self {
        Self {
            identity,
            folder: root.join(name),
            written: None,
        }
    }

    /// Writes anchor and token if the token has passed half of its life, is gone, or the clock was set back.
    pub fn refresh(
        &mut self,
        tokens: &EnrolmentTokens,
        anchor: &str,
        life: i64,
        now: i64,
    ) -> Result<(), Error> {
        let fresh = self
            .written
            .is_some_and(|written| (written..written + life / 2).contains(&now));
        if fresh && self.exists(TOKEN)? && self.exists(ANCHOR)? {
            return Ok(());
        }
        self.written = None;
        if !self.folder.is_dir() {
            return Err(Error::EnrolmentVolume(self.folder.clone()));
        }
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Error::Crypto("reading random bytes"))?;
        let token = tokens.mint(&self.identity, now + life, nonce);
        // Who finds a token also finds what to pin.
        files::replace(&self.folder, ANCHOR, anchor.as_bytes())?;
        files::replace(&self.folder, TOKEN, format!("{token}\n").as_bytes())?;
        self.written = Some(now);
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool, Error> {
        let path = self.folder.join(name);
        match path.try_exists() {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
                action: "looking for",
                path,
                source,
            }),
            answer => Ok(answer.unwrap_or(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn tokens() -> EnrolmentTokens {
        EnrolmentTokens::new(&[1; 32], "0a.sextant.internal".parse().unwrap())
    }

    #[test]
    fn the_token_is_rewritten_at_half_life_and_when_it_is_gone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("admin")).unwrap();
        let file = root.path().join("admin/token");
        let mut volume = Volume::new(root.path(), "admin", Identity::Admin);
        let mut at = |now| {
            volume.refresh(&tokens(), "anchor", 600, now).unwrap();
            fs::read_to_string(&file).unwrap()
        };
        let first = at(1000);
        assert_eq!(tokens().verify(&first, 1599), Ok(Identity::Admin));
        assert_eq!(at(1299), first);
        let second = at(1300);
        assert_ne!(second, first);
        assert_ne!(at(900), second, "the clock was set back");
        fs::remove_file(&file).unwrap();
        let third = at(901);
        assert_eq!(tokens().verify(&third, 901), Ok(Identity::Admin));
        assert_eq!(
            fs::read_to_string(root.path().join("admin/ca.pem")).unwrap(),
            "anchor"
        );
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_missing_volume_is_an_error_that_names_it_and_heals() {
        let root = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(root.path(), "admin", Identity::Admin);
        let error = volume.refresh(&tokens(), "anchor", 600, 1000).unwrap_err();
        assert!(error.to_string().contains("admin"), "{error}");
        fs::create_dir(root.path().join("admin")).unwrap();
        volume.refresh(&tokens(), "anchor", 600, 1000).unwrap();
    }
}
