//! What a new configuration asks for.

use std::collections::BTreeMap;

use sextant_proto::supervisor::{ComponentConfig, ComponentFile};

/// The smallest step from one configuration to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// Both are the same.
    Nothing,
    /// The component follows what changed by itself.
    Reload,
    /// The component has to be started again.
    Restart,
}

/// The step from `running` to `wanted`.
pub(crate) fn change(running: &ComponentConfig, wanted: &ComponentConfig) -> Change {
    if running.arguments != wanted.arguments || files(running, false) != files(wanted, false) {
        Change::Restart
    } else if files(running, true) != files(wanted, true) {
        Change::Reload
    } else {
        Change::Nothing
    }
}

/// Files of one kind, by path; their order means nothing.
fn files(config: &ComponentConfig, reloads: bool) -> BTreeMap<&str, &[u8]> {
    let matching = config.files.iter().filter(|file| file.reloads == reloads);
    matching
        .map(|file| (file.path.as_str(), file.content.as_ref()))
        .collect()
}

/// Files that may be replaced while the component runs.
pub(crate) fn reloading(config: &ComponentConfig) -> impl Iterator<Item = &ComponentFile> {
    config.files.iter().filter(|file| file.reloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str], files: &[(&str, &'static str, bool)]) -> ComponentConfig {
        let file = |(path, content, reloads): &(&str, &'static str, bool)| ComponentFile {
            path: (*path).to_owned(),
            content: (*content).into(),
            reloads: *reloads,
        };
        ComponentConfig {
            component: "kube-apiserver".to_owned(),
            digest: String::new(),
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            files: files.iter().map(file).collect(),
            version: String::new(),
        }
    }

    #[test]
    fn only_what_cannot_be_reloaded_restarts() {
        let running = config(&["--v=2"], &[("a", "1", true), ("b", "1", false)]);
        let to = |wanted| change(&running, &wanted);
        assert_eq!(to(running.clone()), Change::Nothing);
        assert_eq!(
            to(config(&["--v=2"], &[("b", "1", false), ("a", "1", true)])),
            Change::Nothing
        );
        assert_eq!(
            to(config(&["--v=2"], &[("a", "2", true), ("b", "1", false)])),
            Change::Reload
        );
        assert_eq!(to(config(&["--v=2"], &[("b", "1", false)])), Change::Reload);
        assert_eq!(
            to(config(&["--v=2"], &[("a", "1", true), ("b", "2", false)])),
            Change::Restart
        );
        assert_eq!(to(config(&["--v=2"], &[("a", "1", true)])), Change::Restart);
        assert_eq!(
            to(config(&["--v=2"], &[("a", "1", false), ("b", "1", false)])),
            Change::Restart
        );
        assert_eq!(
            to(config(&["--v=3"], &[("a", "1", true), ("b", "1", false)])),
            Change::Restart
        );
    }
}
