//! What can go wrong in the runner.

use std::{io, path::PathBuf};

/// An error of the runner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Every folder of the state volume is taken.
    #[error(
        "{0}: {1} replicas use this folder already; give this one a volume of its own, or stop some"
    )]
    Crowded(PathBuf, u32),
    /// The process is stopping.
    #[error("stopping")]
    Drained,
    /// A file or socket could not be made.
    #[error(
        "{action} {path}: {source}; check that the volume or tmpfs is mounted and owned by this user"
    )]
    File {
        /// "reading", "writing", "removing", "listening on" and the like.
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The listener.
    #[error(transparent)]
    Shell(#[from] sextant_kit::Error),
    /// Identity, certificate or trust.
    #[error(transparent)]
    Identity(#[from] sextant_identity::Error),
    /// The supervisor named a file that would lie outside of the configuration folder.
    #[error(
        "the supervisor sent the file path `{0}`, which leaves the configuration folder: refused"
    )]
    Path(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
