//! The command line's grammar.
mod telemetry;
mod trace;

pub use telemetry::{LogLevel, Millis, Sampling, Share};
pub use trace::{Trace, TraceFiles};

use crate::duration;
use crate::enrol::{Hosted, Place};
use crate::hosted::Facts;
use crate::output::Format;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and everything asked about is ready
  1  something isn't ready, or the cluster refused
  2  the command line is wrong
  3  the cluster can't be reached";

/// Asks and steers a Sextant cluster.
#[derive(Debug, Parser)]
#[command(name = "sextant", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Where the cluster is and how to answer.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// How to write the answer.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// The supervisor's public port, host:port; by default 127.0.0.1:9443, or what the chart says with --hosted.
    #[arg(
        long,
        global = true,
        env = "SEXTANT_SERVER",
        value_name = "HOST:PORT",
        value_parser = server
    )]
    pub server: Option<String>,
    /// Name of the cluster on this machine: its certificates are kept in a folder of this name; by default `default`,
    /// or NAMESPACE.NAME with --hosted.
    #[arg(
        long,
        global = true,
        env = "SEXTANT_CONTEXT",
        value_name = "NAME",
        value_parser = context
    )]
    pub context: Option<String>,
    /// Folder for certificates, instead of $XDG_STATE_HOME/sextant/<context>.
    #[arg(long, global = true, env = "SEXTANT_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder with the administrator's enrolment token (`token`) and `ca.pem`, instead of asking Docker.
    #[arg(long, global = true, env = "SEXTANT_ENROL_DIR", value_name = "DIR")]
    pub enrol_dir: Option<PathBuf>,
    /// Compose project of the cluster, from which Docker copies the enrolment token.
    #[arg(
        long,
        global = true,
        env = "SEXTANT_PROJECT",
        default_value = "sextant",
        value_name = "NAME"
    )]
    pub project: String,
    /// A control plane that another cluster hosts: its administrator is who may ask that cluster for a token of its
    /// ServiceAccount NAME-admin.
    #[arg(
        long,
        global = true,
        env = "SEXTANT_HOSTED",
        value_name = "NAMESPACE/NAME",
        conflicts_with = "enrol_dir"
    )]
    pub hosted: Option<Place>,
    /// Kubeconfig of the hosting cluster, instead of what kubectl would use.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the hosting cluster in its kubeconfig, instead of the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub kube_context: Option<String>,
}

impl Global {
    /// The name of the cluster on this machine.
    pub fn context(&self) -> String {
        match (&self.context, &self.hosted) {
            (Some(context), _) => context.clone(),
            (None, Some(place)) => format!("{}.{}", place.namespace, place.name),
            (None, None) => "default".to_owned(),
        }
    }

    /// The hosted control plane that is meant, if one is.
    pub fn hosted(&self) -> Option<Hosted> {
        self.hosted.clone().map(|place| self.hosted_at(place))
    }

    /// A control plane of that cluster.
    pub fn hosted_at(&self, place: Place) -> Hosted {
        Hosted {
            place,
            kubeconfig: self.kubeconfig.clone(),
            context: self.kube_context.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the cluster's parts and nodes, and what each waits for.
    Status,
    /// Watch the cluster: what its parts do and cost, nodes, certificates, the datastore, the last events.
    Dashboard(Dashboard),
    /// Join tokens, with which nodes enter the cluster.
    #[command(subcommand)]
    Token(Token),
    /// Write a kubeconfig for kubectl.
    Kubeconfig(Kubeconfig),
    /// Print a client certificate for kubectl (it calls this by itself).
    Credential,
    /// Certificates that the cluster has issued.
    #[command(subcommand)]
    Certificate(Certificate),
    /// Nodes of the cluster.
    #[command(subcommand)]
    Node(Node),
    /// Show what the running processes log, or change it until they end.
    LogLevel(LogLevel),
    /// Show which traces the running processes export, or change it until they end.
    Sampling(Sampling),
    /// Print a trace as a tree with times, from what the collector has written.
    #[command(subcommand)]
    Trace(Trace),
    /// Control planes that another cluster hosts.
    #[command(subcommand)]
    Hosted(HostedPlane),
    /// Print the version of this program.
    Version {
        /// Ask the cluster for its versions too.
        #[arg(long)]
        cluster: bool,
    },
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// `sextant dashboard`
#[derive(Args, Debug)]
pub struct Dashboard {
    /// Print it once instead, as it is done also where the output is no terminal, or is wanted as JSON or YAML.
    #[arg(long)]
    pub once: bool,
    /// How often to ask.
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration::parse)]
    pub interval: Duration,
}

/// `sextant token …`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a join token and print it.
    Create(TokenCreate),
    /// Show the tokens that there are; the secrets are stored nowhere and can't be shown.
    #[command(visible_alias = "ls")]
    List,
    /// Make a token useless.
    Revoke {
        /// The token's id, as `token list` shows it.
        id: String,
    },
}

/// `sextant token create`
#[derive(Args, Debug)]
pub struct TokenCreate {
    /// Only the node of this name may join with it.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// How long it can be used.
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = duration::parse)]
    pub ttl: Duration,
    /// How many nodes may join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
    /// Only nodes that come from this network may join with it; can be given several times.
    #[arg(long, value_name = "NETWORK", value_parser = cidr)]
    pub cidr: Vec<String>,
    /// A note for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub description: String,
    /// Write the token into this file (0600) instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

/// `sextant kubeconfig`
#[derive(Args, Debug)]
pub struct Kubeconfig {
    /// Write it into this file (0600) instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Put a certificate and its key into the file, for tools that can't call `sextant credential`.
    #[arg(long = "static")]
    pub fixed: bool,
    /// Life of that certificate.
    #[arg(
        long,
        default_value = "8h",
        requires = "fixed",
        value_name = "DURATION",
        value_parser = duration::parse
    )]
    pub ttl: Duration,
    /// The Kubernetes API as this machine sees it, instead of what the cluster says.
    #[arg(long, value_name = "URL", value_parser = https_url)]
    pub api_server: Option<String>,
}

/// `sextant certificate …`
#[derive(Debug, Subcommand)]
pub enum Certificate {
    /// Show valid certificates, the next to expire first, and warn of those that should have been renewed.
    Check {
        /// Show also certificates that nobody uses any more: a newer one took their place, or what they were for is
        /// switched off.
        #[arg(long)]
        all: bool,
    },
}

/// `sextant hosted …`
#[derive(Debug, Subcommand)]
pub enum HostedPlane {
    /// Remove what is left of a control plane after `helm uninstall`: its keyring and its volumes, for good.
    Purge {
        /// The control plane.
        #[arg(value_name = "NAMESPACE/NAME")]
        plane: Place,
        /// Remove it; without this it is only shown.
        #[arg(long)]
        yes: bool,
        /// Leave the keyring and the volumes, from which the same control plane can be installed again.
        #[arg(long)]
        keep_data: bool,
    },
    /// Say whether an upgrade of the chart may go ahead (the chart's hook asks this).
    #[command(hide = true)]
    CheckUpgrade {
        /// The control plane.
        #[arg(value_name = "NAMESPACE/NAME")]
        plane: Place,
        /// What it is to be: a JSON object with the keys of ConfigMap NAME-reach.
        #[arg(long, value_name = "JSON", value_parser = facts)]
        wanted: Facts,
        /// Admin port of its supervisors.
        #[arg(long, value_name = "HOST:PORT", value_parser = server)]
        supervisor: String,
    },
}

/// `sextant node …`
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Show the nodes and their sessions.
    #[command(visible_alias = "ls")]
    List,
    /// Forget a node: its session ends, it comes back only with a new token, and its name is free again.
    #[command(visible_alias = "rm")]
    Remove {
        /// The node's name.
        name: String,
    },
}

fn facts(text: &str) -> Result<Facts, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON object of texts: {e}"))
}

fn server(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("'{text}' is not host:port, e.g. 127.0.0.1:9443")),
    }
}

/// A context becomes a folder's name, so it must stay inside its parent.
fn context(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && !text.starts_with('.') && text.chars().all(fine) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "'{text}' is no name of letters, digits, '-', '_' and '.'"
    ))
}

fn cidr(text: &str) -> Result<String, String> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(())
    });
    match parsed {
        Some(()) => Ok(text.to_owned()),
        None => Err(format!(
            "'{text}' is no network, e.g. 192.0.2.0/24 or 2001:db8::/32"
        )),
    }
}

fn https_url(text: &str) -> Result<String, String> {
    match text.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => Ok(text.to_owned()),
        _ => Err(format!(
            "'{text}' is no https URL, e.g. https://127.0.0.1:6443"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for line in [
            "sextant --server nowhere status",
            "sextant --context ../other status",
            "sextant token create --ttl soon",
            "sextant token create --uses 0",
            "sextant token create --cidr 10.0.0.0/33",
            "sextant kubeconfig --ttl 1h",
            "sextant kubeconfig --api-server http://127.0.0.1:6443",
            "sextant certificate",
            "sextant log-level supervisor --for 10m",
            "sextant sampling supervisor 1.1",
            "sextant sampling --slow 200ms",
            "sextant sampling supervisor --slow 0ms",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn takes_global_flags_anywhere() {
        let cli = Cli::try_parse_from(["sextant", "status", "-o", "json"]).unwrap();
        assert_eq!(cli.global.output, Format::Json);
    }
}
