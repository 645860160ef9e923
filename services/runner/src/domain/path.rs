//! Paths that come from the supervisor.

use std::path::{Component, Path, PathBuf};

/// `path` below `folder`. None when it is empty, absolute or would leave the folder, or when a name in it begins with
/// a dot: those are the runner's own, for files not finished yet.
pub(crate) fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let plain = |name: &str| {
        !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains('\0')
    };
    let whole = path.split('/').all(plain);
    let normal = Path::new(path)
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    (whole && normal).then(|| folder.join(path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_plain_names() {
        let folder = Path::new("/run/config");
        assert_eq!(below(folder, "a.yaml"), Some("/run/config/a.yaml".into()));
        assert_eq!(
            below(folder, "a/b-c_d.json"),
            Some("/run/config/a/b-c_d.json".into())
        );
    }

    #[test]
    fn refuses_everything_else() {
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            ".a.new",
            "a\0b",
        ] {
            assert_eq!(below(Path::new("/run/config"), path), None, "{path:?}");
        }
    }

    proptest! {
        /// Whatever is accepted stays below the folder, judged by walking the path instead of by its form.
        #[test]
        fn never_leaves_the_folder(path in "[a./\\\\\0 ]{0,12}") {
            if let Some(found) = below(Path::new("/f"), &path) {
                let mut depth = 0;
                for part in found.strip_prefix("/f").unwrap().to_str().unwrap().split('/') {
                    depth += match part { ".." => -1, "" | "." => 0, _ => 1 };
                    prop_assert!(depth > 0);
                }
            }
        }
    }
}
