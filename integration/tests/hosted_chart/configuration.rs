//! The environment of each part, checked by the service itself: it refuses keys that it doesn't know and values of the
//! wrong type.

use crate::chart::{Pod, Rendered};
use anyhow::{Result, ensure};
use sextant_integration::run;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// What this program does when it is called by this name.
pub fn role(name: &OsStr) -> Option<fn() -> ExitCode> {
    Some(match name.as_bytes() {
        b"cert-authority" => sextant_kit::main::<cert_authority::app::App>,
        b"datastore-proxy" => sextant_kit::main::<datastore_proxy::app::App>,
        b"runner" => sextant_kit::main::<sextant_runner::app::Runner>,
        b"supervisor" => sextant_kit::main::<supervisor::app::App>,
        b"token-service" => sextant_kit::main::<token_service::app::TokenService>,
        _ => return None,
    })
}

pub fn services_know_their_settings(helm: &Path) -> Result<()> {
    let page = std::fs::read_to_string(sextant_project::root().join("docs/configuration.md"))?;
    let ahead: Vec<&str> = AHEAD
        .iter()
        .copied()
        .filter(|name| !page.contains(name))
        .collect();
    if !ahead.is_empty() {
        println!("SKIP settings that the services don't have yet: {ahead:?}");
    }
    for rendered in Rendered::all(helm)? {
        for pod in rendered.pods().iter().filter(|pod| pod.part != "test") {
            let said = checked(pod, &ahead)?;
            ensure!(
                said.is_empty(),
                "{} with {}: {said}",
                pod.part,
                rendered.values
            );
        }
    }
    Ok(())
}

/// What `--check-config` says of this environment; nothing if it is good.
fn checked(pod: &Pod, ahead: &[&str]) -> Result<String> {
    let program = match pod.part.as_str() {
        part if part.starts_with("kube-") => "runner",
        part => part,
    };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg0(program)
        .arg("--check-config")
        .env_clear()
        .envs(
            pod.environment()
                .into_iter()
                .filter(|(name, _)| !ahead.contains(&name.as_str())),
        );
    let outcome = run(&mut command, DEADLINE)?;
    Ok(match outcome.code {
        0 => String::new(),
        code => format!("exit code {code}: {}{}", outcome.stdout, outcome.stderr),
    })
}

/// Settings that the services get together with enrolment by ServiceAccount tokens, and have once their reference page
/// has them.
const AHEAD: &[&str] = &[
    "SEXTANT_ENROLL__TRUST_CONFIG_MAP",
    "SEXTANT_HOSTING__AUDIENCE",
    "SEXTANT_HOSTING__NAME",
    "SEXTANT_HOSTING__SEAL",
    "SEXTANT_HOSTING__STATE",
];
