//! Where things lie: the checkout, its `out` folder, and the cache outside the checkout.

pub use sextant_project::{out, root};

use anyhow::{Context, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The log of one stage.
pub fn log(name: &str) -> Result<PathBuf> {
    let folder = out().join("logs");
    create(&folder)?;
    Ok(folder.join(format!("{}.log", name.replace(' ', "-"))))
}

/// `$XDG_CACHE_HOME/sextant`, or `~/.cache/sextant`: what is slow to make and the same for every checkout.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
        )
        .join(".cache"),
    };
    let folder = base.join("sextant");
    create(&folder)?;
    Ok(folder)
}

/// `create_dir_all` with the path in its error.
pub fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// Removes a folder that may not be there.
pub fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Keeps other runs of xtask away from what `name` stands for until the returned file is dropped.
pub fn lock(name: &str) -> Result<File> {
    let path = cache()?.join(format!("{name}.lock"));
    let tried = format!("locking {}", path.display());
    let file = File::create(&path).with_context(|| tried.clone())?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            eprintln!(
                "      another run holds {}: waiting until it ends",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).context(tried),
    }
    file.lock().context(tried)?;
    Ok(file)
}
