//! compose/observability/dashboards and consoles: made here, so that all look alike, and so that a test can ask every query.

mod console;
mod control_plane;
mod model;
mod nodes;
mod services;

use crate::paths;
use anyhow::{Context, Result, ensure};
use model::Dashboard;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to do with the files.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// Only compare the committed files with the code
    #[arg(long)]
    check: bool,
}

const ALL: &[Dashboard] = &[
    control_plane::API_SERVER,
    control_plane::CLUSTER,
    control_plane::DATASTORE,
    nodes::FLEET,
    nodes::NETPOL,
    nodes::NODES,
    nodes::POD_START,
    nodes::TELEMETRY,
    nodes::UPSTREAM,
    services::CERTIFICATES,
    services::CERT_AUTHORITY,
    services::JOINS,
    services::TOKEN_SERVICE,
    services::TUNNEL,
];

/// For Grafana, and as pages of Prometheus' own.
const FOLDERS: [&str; 2] = [GRAFANA, CONSOLES];
const GRAFANA: &str = "compose/observability/dashboards";
const CONSOLES: &str = "compose/observability/consoles";

/// Writes the files, or checks them.
pub fn task(options: &Options) -> Result<()> {
    if options.check {
        return check();
    }
    for folder in FOLDERS {
        paths::create(&paths::root().join(folder))?;
    }
    let files = files()?;
    for (path, text) in &files {
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    for stray in strays(&files)? {
        std::fs::remove_file(&stray).with_context(|| format!("removing {}", stray.display()))?;
    }
    eprintln!("wrote {} files to {}", files.len(), FOLDERS.join(" and "));
    Ok(())
}

/// Compares the committed files with the code.
pub fn check() -> Result<()> {
    let files = files()?;
    for (path, text) in &files {
        let found =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            found == *text,
            "{} is not what the code says; run `cargo xtask dashboards` and commit it",
            path.display()
        );
    }
    let strays = strays(&files)?;
    ensure!(
        strays.is_empty(),
        "the code makes no {strays:?}; run `cargo xtask dashboards` and commit that"
    );
    Ok(())
}

/// All files, with what is in them.
fn files() -> Result<BTreeMap<PathBuf, String>> {
    let place = |folder: &str, file: &str| paths::root().join(folder).join(file);
    let mut files = BTreeMap::from([(place(CONSOLES, "index.html"), console::index(ALL))]);
    for dashboard in ALL {
        let json = serde_json::to_string_pretty(&dashboard.json()).context("writing JSON")?;
        let name = dashboard.name;
        files.insert(place(GRAFANA, &format!("{name}.json")), json + "\n");
        let page = console::page(dashboard);
        files.insert(place(CONSOLES, &format!("{name}.html")), page);
    }
    Ok(files)
}

/// Files that the code doesn't make any more.
fn strays(ours: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>> {
    let mut strays = Vec::new();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(paths::root().join(folder));
        let entries = entries.with_context(|| format!("reading {folder}"))?;
        strays.extend(entries.flatten().map(|entry| entry.path()));
    }
    strays.retain(|path| !ours.contains_key(path));
    Ok(strays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts;
    use std::collections::BTreeSet;

    #[test]
    fn every_title_is_a_question() {
        for dashboard in ALL {
            assert!(dashboard.title.ends_with('?'), "{}", dashboard.title);
            for panel in dashboard.panels {
                assert!(panel.title.ends_with('?'), "{}", panel.title);
                assert!(!panel.queries.is_empty(), "{}", panel.title);
            }
        }
    }

    #[test]
    fn every_dashboard_links_runbooks_that_exist() {
        let known = alerts::names().unwrap();
        for dashboard in ALL {
            assert!(!dashboard.alerts.is_empty(), "{}", dashboard.name);
            for alert in dashboard.alerts {
                assert!(known.contains(*alert), "{}: {alert}", dashboard.name);
            }
        }
    }

    #[test]
    fn panels_of_one_dashboard_dont_overlap() {
        for dashboard in ALL {
            let json = dashboard.json();
            let places: BTreeSet<_> = json["panels"]
                .as_array()
                .unwrap()
                .iter()
                .map(|panel| panel["gridPos"].to_string())
                .collect();
            assert_eq!(places.len(), dashboard.panels.len(), "{}", dashboard.name);
        }
    }
}
