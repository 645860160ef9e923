//! Stops a cluster and removes what it was made of.

use super::Cluster;
use crate::run;
use anyhow::Result;
use std::process::Command;

/// `docker compose down`. Networks that the engine won't let go are no failure.
///
/// Docker Engine 20.10 at times loses count of the endpoints of a network (moby issue 43286): all containers are gone
/// and it still calls some of them active, until it is restarted. The next start of the cluster uses such a network
/// as it is.
pub fn remove(cluster: &Cluster, options: &[&str]) -> Result<()> {
    // Its requests end at once while it still has its datastore; afterwards each of them waits for it.
    cluster.compose("stop kube-apiserver", &["stop", "kube-apiserver"])?;
    let arguments: Vec<&str> = ["down"].iter().chain(options).copied().collect();
    let Err(error) = cluster.compose("down", &arguments) else {
        return Ok(());
    };
    let everything = options.contains(&"--volumes");
    if !remains(cluster, &["container", "ls", "--all"])?.is_empty()
        || (everything && !remains(cluster, &["volume", "ls"])?.is_empty())
    {
        return Err(error);
    }
    for network in remains(cluster, &["network", "ls"])? {
        if run::succeeds(Command::new("docker").args(["network", "rm", &network])) {
            continue;
        }
        eprintln!(
            "      everything is gone but network {network}: Docker counts endpoints that aren't there. \
             It harms nothing, and goes after a restart of the Docker engine"
        );
    }
    Ok(())
}

/// What the engine still has of this project.
fn remains(cluster: &Cluster, list: &[&str]) -> Result<Vec<String>> {
    let filter = format!("label=com.docker.compose.project={}", cluster.project());
    let ids = run::output(
        Command::new("docker")
            .args(list)
            .args(["--quiet", "--filter", &filter]),
    )?;
    Ok(ids.lines().map(str::to_owned).collect())
}
