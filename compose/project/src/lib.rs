//! A cluster of `compose.yaml`: its name, its ports, where its files lie, and the commands that drive it. Who runs
//! them, how long they may take and what is shown of them is the caller's business.

mod hosting;
mod leftovers;
mod plane;

pub use leftovers::Leftovers;
pub use plane::Plane;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The project that a user gets who names none.
pub const DEFAULT: &str = "sextant";

/// One compose project.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Port of kube-apiserver on 127.0.0.1.
    pub api_port: u16,
    /// Port of the supervisor on 127.0.0.1.
    pub join_port: u16,
    /// What observes it, if anything does.
    pub observed: Option<Observed>,
}

/// Ports of `observability.yaml` on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// Of Prometheus.
    pub prometheus_port: u16,
}

impl Default for Observed {
    fn default() -> Self {
        Self {
            prometheus_port: 9090,
        }
    }
}

impl Project {
    /// URL of kube-apiserver.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// `host:port` of the supervisor.
    #[must_use]
    pub fn supervisor(&self) -> String {
        format!("127.0.0.1:{}", self.join_port)
    }

    /// Where its kubeconfig lies.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        out().join(match self.name.as_str() {
            DEFAULT => "kubeconfig".to_owned(),
            other => format!("kubeconfig-{other}"),
        })
    }

    /// Where `sextant` keeps the administrator's identity.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        out().join("state").join(&self.name)
    }

    /// `docker compose` on this project.
    #[must_use]
    pub fn compose(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--project-name", &self.name, "--file"])
            .arg(root().join("compose/compose.yaml"))
            .env("SEXTANT_API_PORT", self.api_port.to_string())
            .env("SEXTANT_JOIN_PORT", self.join_port.to_string());
        if let Some(observed) = self.observed {
            command
                .arg("--file")
                .arg(root().join("compose/observability.yaml"))
                .env(
                    "SEXTANT_PROMETHEUS_PORT",
                    observed.prometheus_port.to_string(),
                );
        }
        command
    }

    /// Our `kubectl` with its kubeconfig.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        kubectl(&self.kubeconfig())
    }

    /// `sextant` as its administrator.
    #[must_use]
    pub fn sextant(&self) -> Command {
        let mut command = Command::new(bin().join("sextant"));
        command
            .args(["--server", &self.supervisor(), "--project", &self.name])
            .arg("--state-dir")
            .arg(self.state());
        command
    }

    /// `sextant kubeconfig`, which writes [`Self::kubeconfig`].
    #[must_use]
    pub fn write_kubeconfig(&self) -> Command {
        let mut command = self.sextant();
        command
            .args(["kubeconfig", "--api-server", &self.api_url()])
            .arg("--output-file")
            .arg(self.kubeconfig());
        command
    }

    /// What Docker's lists are filtered by to show only this project's.
    #[must_use]
    pub fn filter(&self) -> String {
        format!("label=com.docker.compose.project={}", self.name)
    }
}

/// Our `kubectl` with a kubeconfig.
fn kubectl(kubeconfig: &Path) -> Command {
    let mut command = Command::new(bin().join("kubectl"));
    command.env("KUBECONFIG", kubeconfig);
    command
}

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = compose.and_then(Path::parent);
    root.unwrap_or(Path::new(".")).to_owned()
}

/// Everything that is made and not kept.
#[must_use]
pub fn out() -> PathBuf {
    root().join("out")
}

/// The programs that a user calls.
#[must_use]
pub fn bin() -> PathBuf {
    out().join("bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> Project {
        Project {
            name: name.to_owned(),
            api_port: 7443,
            join_port: 10443,
            observed: None,
        }
    }

    #[test]
    fn projects_have_files_and_ports_of_their_own() {
        let (one, other) = (project(DEFAULT), project("other"));
        assert!(one.kubeconfig().ends_with("out/kubeconfig"));
        assert!(other.kubeconfig().ends_with("out/kubeconfig-other"));
        assert_ne!(one.state(), other.state());
        let line = format!("{:?}", other.compose());
        for part in ["SEXTANT_API_PORT=\"7443\"", "\"other\"", "compose.yaml"] {
            assert!(line.contains(part), "{part} isn't in {line}");
        }
    }

    #[test]
    fn only_an_observed_project_has_the_second_file() {
        let mut project = project("other");
        assert!(!format!("{:?}", project.compose()).contains("observability"));
        project.observed = Some(Observed {
            prometheus_port: 19090,
        });
        let line = format!("{:?}", project.compose());
        for part in ["SEXTANT_PROMETHEUS_PORT=\"19090\"", "observability.yaml"] {
            assert!(line.contains(part), "{part} isn't in {line}");
        }
    }

    #[test]
    fn the_compose_files_are_where_they_are_looked_for() {
        assert!(root().join("compose/compose.yaml").exists());
        assert!(root().join("compose/observability.yaml").exists());
    }
}
