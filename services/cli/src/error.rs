//! Everything that can go wrong, and with which exit code.
use std::io;
use std::path::{Path, PathBuf};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a command failed: what was tried, what was found, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor names a problem of ours.
    #[error("{message} [{code}]")]
    Cluster {
        /// The gRPC status' code.
        code: String,
        /// The cluster's own sentence.
        message: String,
    },
    /// No container to copy from.
    #[error(
        "found no container of service {service} in compose project '{project}': start the \
         cluster with `make up` (the collector with `make up OBSERVABILITY=1`), name its project \
         with --project, or give a folder instead: of the administrator's token with --enrol-dir, \
         of traces with --from"
    )]
    NoContainer {
        /// The project searched for.
        project: String,
        /// Its service.
        service: String,
    },
    /// What was asked for isn't among the traces that are kept.
    #[error(
        "{place} holds no trace of {what}: the collector writes what is some seconds old, and keeps \
         the newest 500 MiB; a request that wasn't sampled leaves none"
    )]
    NoTrace {
        /// What was looked for.
        what: String,
        /// Where.
        place: String,
    },
    /// `docker` couldn't be run, or failed.
    #[error("`{command}` failed: {found}; {advice}")]
    Docker {
        /// The command as it was run.
        command: String,
        /// Its message, or why it couldn't be run.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// The supervisor doesn't take the enrolment token.
    #[error("{message} (the token came from {place}; {advice})")]
    EnrolmentRefused {
        /// The supervisor's sentence.
        message: String,
        /// Where the token was read.
        place: String,
        /// What that says.
        advice: String,
    },
    /// The enrolment token or the certificates to pin can't be used.
    #[error("{place}: {found}; cert-authority writes `token` and `ca.pem` there while it runs")]
    Enrolment {
        /// Where they were looked for.
        place: String,
        /// What was found.
        found: String,
    },
    /// The cluster that hosts the control plane doesn't answer as it should.
    #[error(
        "{tried} for the hosted control plane {place}: {found}; check --hosted, --kubeconfig and --kube-context, \
         and that you may do this in its hosting cluster"
    )]
    Hosting {
        /// `NAMESPACE/NAME`.
        place: String,
        /// What was tried.
        tried: String,
        /// What was found.
        found: String,
    },
    /// No folder to keep certificates in.
    #[error("neither XDG_STATE_HOME nor HOME is set: name a folder with --state-dir")]
    Homeless,
    /// Another process renews for longer than anything takes.
    #[error(
        "waited for {path} for a minute, and another sextant still holds it: stop that one first"
    )]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// Neither the kept certificate nor a new enrolment led to the supervisor.
    #[error("{first}; enrolling again failed too: {second}")]
    NotAgain {
        /// With the kept certificate.
        first: Box<Error>,
        /// With a new one.
        second: Box<Error>,
    },
    /// An answer couldn't be written.
    #[error("can't write the answer: {0}")]
    Output(Source),
    /// A state or output file.
    #[error("can't {action} {path}: {source}")]
    File {
        /// "read", "write", …
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Keys, certificates or requests of this machine are of no use.
    #[error("{what}: {source}")]
    Credential {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: Source,
    },
    /// Nobody answers there, or somebody else.
    #[error(
        "can't reach the supervisor at {address}: {found}; {advice}, or name another address with --server"
    )]
    Unreachable {
        /// The address tried.
        address: String,
        /// What was found.
        found: String,
        /// What to do.
        advice: String,
    },
    /// Somebody answers there, but no conversation with this cluster's supervisor comes about.
    #[error(
        "no conversation comes about with the supervisor at {address}: {found}; \
         a cluster that is starting needs some seconds, then look at {advice}"
    )]
    Strange {
        /// The address tried.
        address: String,
        /// What was found.
        found: String,
        /// Where to look.
        advice: String,
    },
}

impl Error {
    /// 1: refused or failed here, 3: the cluster can't be reached.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Hosting { .. }
            | Self::NoContainer { .. }
            | Self::Strange { .. }
            | Self::Unreachable { .. } => 3,
            Self::NotAgain { first, .. } => first.exit_code(),
            _ => 1,
        }
    }

    pub(crate) fn output(error: impl Into<Source>) -> Self {
        Self::Output(error.into())
    }

    pub(crate) fn state(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn credential(what: &'static str, source: impl Into<Source>) -> Self {
        Self::Credential {
            what,
            source: source.into(),
        }
    }
}
