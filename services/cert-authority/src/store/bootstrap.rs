//! Whether the first minutes of the cluster are over. Once they are, they are for good.

use super::files;
use crate::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const MARKER: &str = "bootstrap-complete";

/// The marker that closes the bootstrap profile.
#[derive(Debug)]
pub struct Bootstrap {
    folder: PathBuf,
    complete: AtomicBool,
}

impl Bootstrap {
    /// Reads it.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let complete = files::read(&state.join(MARKER))?.is_some();
        Ok(Self {
            folder: state.to_owned(),
            complete: AtomicBool::new(complete),
        })
    }

    /// Whether `system:masters` may still be asked for.
    pub fn is_open(&self) -> bool {
        !self.complete.load(Ordering::Acquire)
    }

    /// Closes it, durably. Closing twice changes nothing.
    pub fn complete(&self, now: i64) -> Result<(), Error> {
        if self.is_open() {
            files::replace_durably(&self.folder, MARKER, format!("{now}\n").as_bytes())?;
            self.complete.store(true, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_closed_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = Bootstrap::open(folder.path()).unwrap();
        assert!(bootstrap.is_open());
        bootstrap.complete(1).unwrap();
        bootstrap.complete(2).unwrap();
        assert!(!bootstrap.is_open());
        assert!(!Bootstrap::open(folder.path()).unwrap().is_open());
    }
}
