//! Grammar of `sextant trace`.
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `sextant trace …`
#[derive(Debug, Subcommand)]
pub enum Trace {
    /// The newest join of a node: from node-agent's start until the node is ready.
    Join {
        /// The node's name.
        node: String,
        /// Where the trace is.
        #[command(flatten)]
        from: TraceFiles,
    },
    /// One request to the Kubernetes API, down to the database.
    Request {
        /// Its audit id: the header Audit-Id of the answer, which `kubectl -v=8` shows.
        audit_id: String,
        /// Where the trace is.
        #[command(flatten)]
        from: TraceFiles,
    },
    /// A pod's start: what kubelet and containerd did, and the policy hook.
    Pod {
        /// NAMESPACE/NAME, or NAME in the namespace default.
        #[arg(value_name = "NAMESPACE/NAME")]
        pod: String,
        /// Where the trace is.
        #[command(flatten)]
        from: TraceFiles,
    },
    /// Any trace, by its id: log lines name it in trace_id.
    Show {
        /// Thirty-two hexadecimal digits.
        #[arg(value_parser = trace_id)]
        trace_id: String,
        /// Where the trace is.
        #[command(flatten)]
        from: TraceFiles,
    },
}

/// Where traces are read from.
#[derive(Args, Debug)]
pub struct TraceFiles {
    /// File of OTLP JSON lines, or folder with such files (`traces*.jsonl`), instead of the collector's in the compose
    /// project.
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
}

fn trace_id(text: &str) -> Result<String, String> {
    let fine = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fine.then(|| text.to_ascii_lowercase())
        .ok_or_else(|| format!("'{text}' is no trace id of 32 hexadecimal digits"))
}
