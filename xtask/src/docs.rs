//! docs/configuration.md, made of what each program says about its own settings; docs/helm-values.md.

mod values;

use crate::{paths, run};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to do with the pages.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// Only compare the committed pages with the code
    #[arg(long)]
    check: bool,
}

/// Programs and their packages, in the order of the page.
const SERVICES: &[(&str, &str)] = &[
    ("cert-authority", "cert-authority"),
    ("token-service", "token-service"),
    ("datastore-proxy", "datastore-proxy"),
    ("supervisor", "supervisor"),
    ("runner", "sextant-runner"),
    ("node-agent", "node-agent"),
    ("netpol-controller", "netpol-controller"),
];

const INTRODUCTION: &str = include_str!("configuration.md");

const PAGE: &str = "docs/configuration.md";

/// Writes the pages, or checks them.
pub fn task(options: &Options) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(paths::root())
        .args(["build", "--locked", "--bins"])
        .args(
            SERVICES
                .iter()
                .flat_map(|(_, package)| ["--package", package]),
        );
    run::logged("build services for docs", &mut cargo)?;
    if options.check {
        return check();
    }
    write(PAGE, &render()?)?;
    write(values::PAGE, &values::render()?)
}

fn write(page: &str, text: &str) -> Result<()> {
    let path = paths::root().join(page);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("wrote {page}");
    Ok(())
}

/// Compares the committed pages with what the programs say, as the last build or test run left them, and with the
/// chart's values.
pub fn check() -> Result<()> {
    compare(PAGE, &render()?)?;
    compare(values::PAGE, &values::render()?)
}

fn compare(page: &str, wanted: &str) -> Result<()> {
    let path = paths::root().join(page);
    let found =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let differs = wanted
        .lines()
        .zip(found.lines())
        .find(|(wanted, found)| wanted != found);
    ensure!(
        wanted == found,
        "{page} is not what the code says; run `make docs` and commit it. First difference:\n{}",
        differs.map_or(
            "one is longer than the other".to_owned(),
            |(wanted, found)| { format!("    the page: {found}\n    the code: {wanted}") }
        )
    );
    Ok(())
}

fn render() -> Result<String> {
    let folder = target_directory()?.join("debug");
    let mut page = INTRODUCTION.to_owned();
    for (program, _) in SERVICES {
        page.push('\n');
        page.push_str(&section(&folder.join(program))?);
        page.push('\n');
    }
    Ok(page)
}

fn section(program: &Path) -> Result<String> {
    run::output(Command::new(program).arg("--config-reference"))
}

/// Where Cargo puts what it builds.
fn target_directory() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let text = run::output(Command::new("cargo").current_dir(paths::root()).args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
    ]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("reading the output of cargo metadata")?;
    Ok(metadata.target_directory)
}
