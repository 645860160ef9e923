//! Prometheus as Debian packages it, with the pages that its server shows: upstream's newer ones aren't in the package.

use super::{LOADER, install, libraries, merged};
use crate::debian::Suite;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// trixie's is 2.53, the release with long support; bookworm's is 2.42.
const SUITE: Suite = Suite::Other("trixie");
const PACKAGES: &[&str] = &["libc6", "prometheus", "promtool"];

/// Where the pages lie, in the package and in the image.
const PAGES: &str = "usr/share/prometheus/web";

/// What the pages link in other packages, which these are.
const SCRIPT_PACKAGES: &[&str] = &[
    "fonts-glyphicons-halflings",
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
];
const SCRIPTS: &[&str] = &[
    "bootstrap4/css/bootstrap.min.css",
    "bootstrap4/js/bootstrap.min.js",
    "d3/d3.min.js",
    "eonasdan-bootstrap-datetimepicker/bootstrap-datetimepicker.min.css",
    "eonasdan-bootstrap-datetimepicker/bootstrap-datetimepicker.min.js",
    "jquery/jquery.min.js",
    "moment-timezone/moment-timezone-with-data.min.js",
    "moment/moment.min.js",
    "mustache/mustache.min.js",
    "popper.js/popper.min.js",
    "rickshaw/rickshaw.min.css",
    "rickshaw/rickshaw.min.js",
];
const FONT: (&str, &str) = (
    "usr/share/fonts-glyphicons/glyphicons-halflings-regular.woff2",
    "static/vendor/bootstrap4-glyphicons/fonts/glyphicons/glyphicons-halflings-regular.woff2",
);

/// Where a program of Debian's Prometheus lies, for tests of rules: `prometheus` or `promtool`.
pub fn of_prometheus(program: &str) -> Result<PathBuf> {
    let unpacked = SUITE.unpacked(PACKAGES)?;
    Ok(unpacked.join("usr/bin").join(program))
}

/// Lays Prometheus, promtool and the pages out in `target`.
pub fn prometheus(target: &Path) -> Result<()> {
    let unpacked = SUITE.unpacked(PACKAGES)?;
    let mut wanted: BTreeSet<PathBuf> = ["usr/bin/prometheus", "usr/bin/promtool"]
        .iter()
        .map(PathBuf::from)
        .collect();
    wanted.extend(libraries(&unpacked, wanted.clone())?);
    for file in &wanted {
        install(&unpacked.join(file), &target.join(merged(file)), 0o755)?;
    }
    let loader = unpacked.join("usr").join(LOADER);
    install(&loader, &target.join(LOADER), 0o755)?;
    pages(&unpacked.join(PAGES), &target.join(PAGES))
}

fn pages(from: &Path, to: &Path) -> Result<()> {
    copy_files(from, to)?;
    let scripts = SUITE.unpacked(SCRIPT_PACKAGES)?;
    for script in SCRIPTS {
        let found = scripts.join("usr/share/javascript").join(script);
        install(&found, &to.join("static").join(script), 0o644)?;
    }
    let (font, place) = FONT;
    install(&scripts.join(font), &to.join(place), 0o644)
}

/// The files below `from`, without its links, which lead into other packages.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let (kind, place) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_files(&entry.path(), &place)?;
        } else if kind.is_file() {
            install(&entry.path(), &place, 0o644)?;
        }
    }
    Ok(())
}
