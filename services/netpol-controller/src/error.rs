//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// An error of the controller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration lacks the node's name.
    #[error("no node name: set `node_name`, or NODE_NAME from the pod's spec.nodeName")]
    NoNodeName,
    /// The ServiceAccount of the pod could not be read.
    #[error("no access to the Kubernetes API: {0}; the pod needs its ServiceAccount token mounted")]
    InCluster(#[from] kube::config::InClusterError),
    /// The Kubernetes API said no, or nothing.
    #[error("Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The kernel could not be spoken to.
    #[error(
        "netlink: {attempt}: {source}; CAP_NET_ADMIN in the node's network namespace is needed"
    )]
    Netlink {
        /// What was tried.
        attempt: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a transaction.
    #[error("nf_tables refused {attempt}: {source}{detail}")]
    Refused {
        /// What was tried.
        attempt: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What it said in words, if anything, and of which message.
        detail: String,
    },
    /// Others changed tables each time ours was to be read and written.
    #[error(
        "nf_tables changed during each of {0} attempts to compare our table; trying again later"
    )]
    Contended(u32),
    /// The socket could not be made.
    #[error("can't listen on {path}: {source}; the folder must exist or be creatable by root")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The gRPC server stopped.
    #[error("socket: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// A task of ours stopped abnormally.
    #[error("a task stopped abnormally: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Results of the controller.
pub type Result<T> = std::result::Result<T, Error>;
