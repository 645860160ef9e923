//! What is shown, compared with files in `tests/golden`; UPDATE_GOLDEN=1 writes them.

use sextant_cli::output::{Format, View, render};
use sextant_proto::supervisor::NodeInfo;
use std::path::Path;
use time::OffsetDateTime;

pub const NOW: i64 = 1_800_000_000;
pub const HOUR: i64 = 3_600;

pub fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{} differs", path.display());
}

/// As table, JSON and YAML.
pub fn all_formats<V: View>(name: &str, view: &V) {
    for (format, extension) in [
        (Format::Table, "txt"),
        (Format::Json, "json"),
        (Format::Yaml, "yaml"),
    ] {
        compare(
            &format!("{name}.{extension}"),
            &render(format, view, now()).unwrap(),
        );
    }
}

/// A node that has joined, and the supervisor that it has a session with; without one it isn't ready.
pub fn node(name: &str, supervisor: Option<&str>) -> NodeInfo {
    NodeInfo {
        name: name.into(),
        session: supervisor.is_some(),
        supervisor: supervisor.unwrap_or_default().into(),
        addresses: vec!["172.21.0.3".into()],
        pod_cidr: "10.244.0.0/24".into(),
        agent_version: "0.1.0".into(),
        joined_unix: NOW - 26 * HOUR,
        waiting_for: Vec::new(),
        ready: supervisor.is_some(),
    }
}
