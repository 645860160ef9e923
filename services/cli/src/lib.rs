//! `sextant`: asks and steers a cluster through the supervisor's Admin service.
//!
//! A command line is parsed ([`args`]), does its work ([`app`]) through a [`session`] that gets and renews the
//! administrator's certificate by itself, and shows what it found as table, JSON or YAML ([`output`]).
pub mod app;
pub mod args;
pub mod commands;
pub mod dashboard;
mod docker;
mod duration;
pub mod enrol;
mod error;
pub mod hosted;
pub mod output;
pub mod pair;
mod reach;
pub mod session;
pub mod state;
pub mod trace;

pub use error::Error;

use app::Host;
use clap::Parser;
use dashboard::draw::Palette;
use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use time::OffsetDateTime;

/// The whole program: 0 done and ready, 1 not ready or failed, 2 wrong command line, 3 cluster not reached.
#[must_use]
pub fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let mut out = io::stdout().lock();
    let mut err = io::stderr();
    let host = Host {
        docker: PathBuf::from("docker"),
        state_home: state_home(),
        program: env::current_exe().unwrap_or_else(|_| PathBuf::from("sextant")),
        now: OffsetDateTime::now_utc(),
        screen: screen(),
        out: &mut out,
        err: &mut err,
    };
    match app::run(cli, host) {
        Ok(code) => ExitCode::from(code),
        // Whoever read the answer has seen enough of it.
        Err(Error::Output(cause)) if is_closed_pipe(&*cause) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The terminal that the answers go to, if they do and it can be drawn on.
fn screen() -> Option<Palette> {
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let drawable = io::stdout().is_terminal() && !dumb;
    drawable.then(|| Palette::wanted(env::var_os("NO_COLOR").as_deref()))
}

fn is_closed_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    let cause = cause.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// `$XDG_STATE_HOME/sextant`, by default `~/.local/state/sextant` (XDG Base Directory Specification).
fn state_home() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("sextant"))
}
