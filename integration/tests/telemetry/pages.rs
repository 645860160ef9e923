//! The dashboards as pages of Prometheus' own: each is served, and a browser, where there is one, draws it.

use crate::Subject;
use anyhow::{Context, Result, ensure};
use sextant_integration::{root, run};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// What the last 15 minutes held, which is as old as the cluster may be.
const RANGE: &str = "#15m";

pub fn every_page_is_served_and_drawn(subject: &Subject) -> Result<()> {
    let browser = browser();
    if browser.is_none() {
        println!("SKIP drawing pages: there is no browser; install Debian's package chromium");
    }
    let pictures = root().join("out/dashboards");
    std::fs::create_dir_all(&pictures).context("making a folder for pictures")?;
    let mut sections = 0;
    for name in names()? {
        let address = format!("{}/consoles/{name}.html", subject.prometheus.url());
        let get = ["--silent", "--show-error", "--fail", &address];
        let served = run(Command::new("curl").args(get), DEADLINE)?.ok()?;
        sections += check(&served, "data-exprs").with_context(|| name.clone())?;
        if let Some(browser) = browser {
            let picture = pictures.join(format!("{name}.png"));
            let drawn = draw(browser, &address, &picture)?;
            check(&drawn, "<path").with_context(|| format!("{name} in {browser}"))?;
            ensure!(picture.is_file(), "no {}", picture.display());
        }
    }
    ensure!(sections > 80, "only {sections} questions");
    Ok(())
}

/// Every question has a number or a `graph`, or a word why it has none. Gives how many there are.
fn check(page: &str, graph: &str) -> Result<usize> {
    ensure!(page.contains("</html>"), "it isn't whole: {page}");
    let mut questions = 0;
    for section in page.split("<section>").skip(1) {
        let answers = [
            graph,
            "class=\"number\"",
            "class=\"note\"",
            "<code>",
            "<a href=",
        ];
        ensure!(
            answers.iter().any(|answer| section.contains(answer)),
            "nothing answers {section}"
        );
        let may_be_empty = section.contains("May be empty");
        ensure!(
            !section.contains("No timeseries returned") || may_be_empty,
            "nothing was drawn: {section}"
        );
        questions += 1;
    }
    Ok(questions)
}

/// The page's elements after its scripts have run, and a picture of it.
fn draw(browser: &str, address: &str, picture: &Path) -> Result<String> {
    let profile = tempfile::tempdir().context("a folder for the browser")?;
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--disable-gpu", "--hide-scrollbars"])
        // It runs as root here, and sees nothing but this page.
        .args(["--no-sandbox", "--dump-dom", "--window-size=1400,1200"])
        // Until the queries have answered.
        .arg("--virtual-time-budget=15000")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("{address}{RANGE}"))
        .stderr(Stdio::null());
    run(&mut command, DEADLINE)?.ok()
}

fn browser() -> Option<&'static str> {
    let runs = |name: &&&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    };
    BROWSERS.iter().find(runs).copied()
}

/// Of the pages, without `.html`.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("compose/observability/consoles"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.push(name.context("a name")?.to_owned());
    }
    names.sort();
    Ok(names)
}
