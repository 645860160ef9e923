//! The parts, and how this program becomes one of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// A process of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    CertAuthority,
    DatastoreProxy,
    Edge,
    Supervisor,
    TokenService,
}

impl Part {
    pub const ALL: [Self; 5] = [
        Self::CertAuthority,
        Self::DatastoreProxy,
        Self::TokenService,
        Self::Supervisor,
        Self::Edge,
    ];

    /// Name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::CertAuthority => "cert-authority",
            Self::DatastoreProxy => "datastore-proxy",
            Self::Edge => "runner",
            Self::Supervisor => "supervisor",
            Self::TokenService => "token-service",
        }
    }

    /// Name of the part in paths and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            other => other.program(),
        }
    }
}

/// What this program does when it is called by this name.
pub fn role(name: &OsStr) -> Option<fn() -> ExitCode> {
    let role: fn() -> ExitCode = match name.as_bytes() {
        b"cert-authority" => sextant_kit::main::<cert_authority::app::App>,
        b"datastore-proxy" => sextant_kit::main::<datastore_proxy::app::App>,
        b"runner" => sextant_kit::main::<sextant_runner::app::Runner>,
        b"sextant" => sextant_cli::main,
        b"supervisor" => sextant_kit::main::<supervisor::app::App>,
        b"token-service" => sextant_kit::main::<token_service::app::TokenService>,
        b"node" => crate::node::main,
        _ => return None,
    };
    // A test program that is killed takes its children along.
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        eprintln!("following the test program's death: {error}");
    }
    Some(role)
}
