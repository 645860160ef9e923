//! compose/observability/dashboards: made here, so that all look alike, and so that a test can ask every query.

mod control_plane;
mod model;
mod nodes;
mod services;

use crate::paths;
use anyhow::{Context, Result, ensure};
use model::Dashboard;
use std::collections::BTreeSet;
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

const FOLDER: &str = "compose/observability/dashboards";

/// Writes the files, or checks them.
pub fn task(options: &Options) -> Result<()> {
    if options.check {
        return check();
    }
    paths::create(&paths::root().join(FOLDER))?;
    for dashboard in ALL {
        let path = path(dashboard);
        std::fs::write(&path, text(dashboard)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    for stray in strays()? {
        std::fs::remove_file(&stray).with_context(|| format!("removing {}", stray.display()))?;
    }
    eprintln!("wrote {} dashboards to {FOLDER}", ALL.len());
    Ok(())
}

/// Compares the committed files with the code.
pub fn check() -> Result<()> {
    for dashboard in ALL {
        let path = path(dashboard);
        let found = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            found == text(dashboard)?,
            "{} is not what the code says; run `cargo xtask dashboards` and commit it",
            path.display()
        );
    }
    let strays = strays()?;
    ensure!(
        strays.is_empty(),
        "the code makes no dashboards {strays:?}; run `cargo xtask dashboards` and commit that"
    );
    Ok(())
}

fn path(dashboard: &Dashboard) -> PathBuf {
    let file = format!("{}.json", dashboard.name);
    paths::root().join(FOLDER).join(file)
}

fn text(dashboard: &Dashboard) -> Result<String> {
    let json = serde_json::to_string_pretty(&dashboard.json()).context("writing JSON")?;
    Ok(json + "\n")
}

/// Files that the code doesn't make any more.
fn strays() -> Result<Vec<PathBuf>> {
    let ours: BTreeSet<PathBuf> = ALL.iter().map(path).collect();
    let folder = paths::root().join(FOLDER);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {FOLDER}"))?;
    let mut strays: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    strays.retain(|path| !ours.contains(path));
    Ok(strays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts;

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
