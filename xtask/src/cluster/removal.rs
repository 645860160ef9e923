//! Stops a cluster and removes what it was made of.

use super::Cluster;
use anyhow::Result;
use sextant_project::Leftovers;

/// `docker compose down`. Networks that the engine won't let go are no failure, see [`Leftovers`].
pub fn remove(cluster: &Cluster, options: &[&str]) -> Result<()> {
    // Its requests end at once while it still has its datastore; afterwards each of them waits for it.
    cluster.compose("stop kube-apiserver", &["stop", "kube-apiserver"])?;
    let arguments: Vec<&str> = ["down"].iter().chain(options).copied().collect();
    let Err(error) = cluster.compose("down", &arguments) else {
        return Ok(());
    };
    let leftovers = Leftovers::of(&cluster.project)?;
    if !leftovers.are_bearable(options.contains(&"--volumes")) {
        return Err(error);
    }
    for network in leftovers.lost_networks()? {
        eprintln!(
            "      everything is gone but network {network}: Docker counts endpoints that aren't there. \
             It harms nothing, and goes after a restart of the Docker engine"
        );
    }
    Ok(())
}
