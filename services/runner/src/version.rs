//! Which version of the component this image holds.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use prometheus_client::metrics::info::Info;
use sextant_kit::Metrics;
use tokio::{process::Command, time::timeout};

use crate::child;

/// How long the program may take to tell; it reads a hundred megabytes on the way.
const DEADLINE: Duration = Duration::from_secs(30);

/// What `program --version` says, `v1.37.2` of `Kubernetes v1.37.2`; empty, with a warning, where it doesn't. The admin port
/// tells it, too: there the supervisor asks.
pub(crate) async fn of(program: PathBuf, metrics: Metrics) -> String {
    let version = ask(&program).await;
    let info = Info::new(vec![("version", version.clone())]);
    metrics.register(|registry| {
        registry.register("component", "The component of this image", info);
    });
    version
}

async fn ask(program: &Path) -> String {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let said = match timeout(DEADLINE, child::output(&mut command)).await {
        Ok(said) => said,
        Err(_) => Err(io::Error::other(format!("no answer within {DEADLINE:?}"))),
    };
    let program = program.display();
    let found = match &said {
        Ok(said) => version(said),
        Err(error) => {
            tracing::warn!(%program, %error, "asking for its version");
            return String::new();
        }
    };
    if found.is_empty() {
        tracing::warn!(%program, "it doesn't tell its version");
    }
    found.to_owned()
}

fn version(said: &str) -> &str {
    let numbered = |word: &&str| {
        let rest = word.strip_prefix('v');
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let found = said.split_whitespace().find(numbered).unwrap_or_default();
    // It stands in a metric and goes to the supervisor: no longer than versions are.
    if found.len() > 64 { "" } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_among_other_words() {
        assert_eq!(version("Kubernetes v1.37.2\n"), "v1.37.2");
        assert_eq!(version("very old\n"), "");
        assert_eq!(version(&format!("v1{}", "0".repeat(64))), "");
    }

    #[tokio::test]
    async fn programs_that_do_not_tell_have_none() {
        assert_eq!(ask(Path::new("/bin/false")).await, "");
        assert_eq!(ask(Path::new("/nowhere")).await, "");
    }
}
