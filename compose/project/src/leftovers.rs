//! What `docker compose down` leaves behind.

use crate::Project;
use std::io;
use std::process::{Command, Stdio};

/// What the engine still has of a project.
///
/// Docker Engine 20.10 at times loses count of the endpoints of a network (moby issue 43286): all containers are gone
/// and it still calls some of them active, until it is restarted. The next start of the cluster uses such a network
/// as it is, so a `down` that fails for nothing else has done its work.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Containers.
    pub containers: Vec<String>,
    /// Volumes.
    pub volumes: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
}

impl Leftovers {
    /// Asks the engine.
    ///
    /// # Errors
    /// Docker can't be started, or fails.
    pub fn of(project: &Project) -> io::Result<Self> {
        Ok(Self {
            containers: list(project, &["container", "ls", "--all"])?,
            volumes: list(project, &["volume", "ls"])?,
            networks: list(project, &["network", "ls"])?,
        })
    }

    /// Whether nothing is left but what a `down` may leave: networks, and the volumes where they weren't to be
    /// removed.
    #[must_use]
    pub fn are_bearable(&self, with_volumes: bool) -> bool {
        self.containers.is_empty() && (self.volumes.is_empty() || !with_volumes)
    }

    /// Tries to remove the networks once more; those that stay.
    ///
    /// # Errors
    /// Docker can't be started.
    pub fn lost_networks(self) -> io::Result<Vec<String>> {
        let mut lost = Vec::new();
        for network in self.networks {
            let removed = Command::new("docker")
                .args(["network", "rm", &network])
                .stdin(Stdio::null())
                .output()?;
            if !removed.status.success() {
                lost.push(network);
            }
        }
        Ok(lost)
    }
}

fn list(project: &Project, what: &[&str]) -> io::Result<Vec<String>> {
    let listed = Command::new("docker")
        .args(what)
        .args(["--quiet", "--filter", &project.filter()])
        .stdin(Stdio::null())
        .output()?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(io::Error::other(format!(
            "docker {}: {}",
            what.join(" "),
            said.trim()
        )));
    }
    let ids = String::from_utf8_lossy(&listed.stdout);
    Ok(ids.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_may_stay() {
        let some = || vec!["x".to_owned()];
        let networks = Leftovers {
            networks: some(),
            ..Leftovers::default()
        };
        assert!(networks.are_bearable(true));
        let volumes = Leftovers {
            volumes: some(),
            ..Leftovers::default()
        };
        assert!(volumes.are_bearable(false) && !volumes.are_bearable(true));
        let containers = Leftovers {
            containers: some(),
            ..Leftovers::default()
        };
        assert!(!containers.are_bearable(false));
    }
}
