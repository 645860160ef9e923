//! The folder with the component's files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use sextant_proto::supervisor::ComponentFile;

use crate::{domain::path::below, error::Error, kept::write_file};

/// Writes the files that differ from what is there.
pub(crate) fn write<'a>(
    folder: &Path,
    files: impl IntoIterator<Item = &'a ComponentFile>,
) -> Result<(), Error> {
    for file in files {
        let path = below(folder, &file.path).ok_or_else(|| Error::Path(file.path.clone()))?;
        if fs::read(&path).is_ok_and(|content| content == file.content) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file("writing", parent))?;
        }
        write_file(&path, &file.content, 0o600)?;
        tracing::info!(path = %path.display(), reloads = file.reloads, "wrote a file");
    }
    Ok(())
}

/// Makes `folder` hold exactly `files`.
pub(crate) fn replace(folder: &Path, files: &[ComponentFile]) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("writing", folder))?;
    write(folder, files)?;
    let wanted: BTreeSet<_> = files
        .iter()
        .filter_map(|file| below(folder, &file.path))
        .collect();
    prune(folder, &wanted)
}

fn prune(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::file("reading", folder))? {
        let path = entry.map_err(Error::file("reading", folder))?.path();
        if path.is_dir() {
            prune(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).map_err(Error::file("removing", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &'static str) -> ComponentFile {
        ComponentFile {
            path: path.to_owned(),
            content: content.into(),
            reloads: true,
        }
    }

    #[test]
    fn the_folder_holds_what_was_sent_last() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("config");
        replace(&folder, &[file("a", "1"), file("sub/b", "1")]).unwrap();
        replace(&folder, &[file("a", "2"), file("c", "1")]).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "2");
        assert_eq!(fs::read_to_string(folder.join("c")).unwrap(), "1");
        assert!(!folder.join("sub/b").exists());
        write(&folder, &[file("sub/d", "1")]).unwrap();
        assert!(folder.join("sub/d").exists() && folder.join("c").exists());
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(&folder.path().join("config"), &[file("../x", "1")]).unwrap_err();
        assert!(error.to_string().contains("`../x`"), "{error}");
        assert!(!folder.path().join("x").exists());
    }
}
