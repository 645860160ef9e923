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
    let role: fn() -> ExitCode = match Path::new(name).file_name()?.as_bytes() {
        b"cert-authority" => sextant_kit::main::<cert_authority::app::App>,
        b"datastore-proxy" => sextant_kit::main::<datastore_proxy::app::App>,
        b"runner" => sextant_kit::main::<sextant_runner::app::Runner>,
        b"supervisor" => sextant_kit::main::<supervisor::app::App>,
        b"token-service" => sextant_kit::main::<token_service::app::TokenService>,
        _ => return None,
    };
    // A test program that is killed takes its children along.
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        eprintln!("following the test program's death: {error}");
    }
    Some(role)
}

pub fn services_know_their_settings(helm: &Path) -> Result<()> {
    for rendered in Rendered::all(helm)? {
        for pod in rendered.pods().iter().filter(|pod| pod.part != "test") {
            let said = checked(pod)?;
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
fn checked(pod: &Pod) -> Result<String> {
    let program = match pod.part.as_str() {
        part if part.starts_with("kube-") => "runner",
        part => part,
    };
    let mut command = called(program)?;
    command.arg("--check-config").envs(pod.environment());
    let outcome = run(&mut command, DEADLINE)?;
    Ok(match outcome.code {
        0 => String::new(),
        code => format!("exit code {code}: {}{}", outcome.stdout, outcome.stderr),
    })
}

/// This program as a service, with nothing of our environment that a service would read.
pub fn called(name: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(name).env_clear();
    Ok(command)
}
