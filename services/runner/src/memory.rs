//! What the component's Go runtime is told of memory.

use std::path::Path;

/// Where a container finds its own limit: cgroup v2, then v1.
const LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];
/// From here on v1 means "none": it has no word for that, only a large number.
const NO_LIMIT: u64 = 1 << 60;

/// Environment variables of the component, beyond what its container was given: `GOGC` if it is configured, and
/// `GOMEMLIMIT` if the container has a limit, so that near it garbage is collected rather than the process killed.
pub(crate) fn environment(gogc: Option<u16>) -> Vec<(&'static str, String)> {
    let limit = LIMITS.iter().find_map(|file| limit(Path::new(file)));
    let told = [
        ("GOGC", gogc.map(|percent| percent.to_string())),
        ("GOMEMLIMIT", limit.map(|limit| soft(limit).to_string())),
    ];
    told.into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Bytes that a container may use, `None` if it may use all.
fn limit(file: &Path) -> Option<u64> {
    let limit = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < NO_LIMIT).then_some(limit)
}

/// A tenth is left for what isn't Go's heap: the runner itself, pages of files, stacks of the kernel.
fn soft(limit: u64) -> u64 {
    limit - limit / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_both_versions_of_cgroups_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limit");
        let written = |text: &str| {
            std::fs::write(&file, text).unwrap();
            limit(&file)
        };
        assert_eq!(written("2147483648\n"), Some(2 << 30));
        assert_eq!(written("max\n"), None);
        assert_eq!(written("9223372036854771712\n"), None);
        assert_eq!(limit(&folder.path().join("none")), None);
    }

    #[test]
    fn a_tenth_of_the_limit_stays_free() {
        assert_eq!(soft(1000), 900);
        assert_eq!(soft(0), 0);
    }

    #[test]
    fn what_is_configured_is_told() {
        let told = environment(Some(50));
        assert!(told.contains(&("GOGC", "50".to_owned())), "{told:?}");
        assert!(environment(None).iter().all(|(name, _)| *name != "GOGC"));
    }
}
