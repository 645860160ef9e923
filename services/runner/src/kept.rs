//! What the runner keeps for a start while others are away.

use std::{
    fs,
    io::Write,
    marker::PhantomData,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use prost::Message;

use crate::error::Error;

/// One message in a file, replaced as a whole.
#[derive(Debug)]
pub(crate) struct Kept<M> {
    path: PathBuf,
    message: PhantomData<fn() -> M>,
}

impl<M> Clone for Kept<M> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            message: PhantomData,
        }
    }
}

impl<M: Message + Default> Kept<M> {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(name),
            message: PhantomData,
        }
    }

    /// None when nothing was kept yet, or when it can't be read: it is only a copy.
    pub(crate) fn load(&self) -> Option<M> {
        let content = fs::read(&self.path).ok()?;
        match M::decode(content.as_slice()) {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "ignoring what was kept");
                None
            }
        }
    }

    /// Keeps `message`. A failure is logged and changes nothing else: what runs, runs.
    pub(crate) fn save(&self, message: &M) {
        if let Err(error) = write_file(&self.path, &message.encode_to_vec(), 0o600) {
            tracing::warn!(%error, "the next start will need its services");
        }
    }
}

/// Writes a file by rename, so that a reader sees the old or the new content and never half of it.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.new"));
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(Error::file("writing", path))
}

#[cfg(test)]
mod tests {
    use sextant_proto::supervisor::RestartPermit;

    use super::*;

    #[test]
    fn comes_back_and_survives_nonsense() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::<RestartPermit>::new(folder.path(), "permit.pb");
        assert_eq!(kept.load(), None);
        let permit = RestartPermit {
            granted: true,
            waiting_for: "x".to_owned(),
        };
        kept.save(&permit);
        assert_eq!(kept.load(), Some(permit));
        fs::write(folder.path().join("permit.pb"), b"\xff\xff\xff").unwrap();
        assert_eq!(kept.load(), None);
    }
}
