//! Pods leave the cluster under the node's address; among each other they keep their own.

use crate::error::Error;
use ipnet::Ipv4Net;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const TABLE: &str = "sextant-node";
const DEADLINE: Duration = Duration::from_secs(10);

/// The table, replaced as a whole in one transaction.
fn ruleset(pods: &Ipv4Net, cluster: &Ipv4Net) -> String {
    format!(
        "table inet {TABLE}\n\
         delete table inet {TABLE}\n\
         table inet {TABLE} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {pods} ip daddr != {{ {cluster}, 224.0.0.0/4 }} oifname != \"lo\" masquerade fully-random\n\
         \t}}\n\
         }}\n"
    )
}

/// Keeps the table as it should be.
#[derive(Debug)]
pub(super) struct Masquerade {
    nft: PathBuf,
    applied: Option<String>,
}

impl Masquerade {
    pub(super) fn new() -> Self {
        let found = ["/usr/sbin/nft", "/usr/bin/nft", "/sbin/nft"]
            .iter()
            .find(|p| Path::new(p).exists());
        Self {
            nft: found.unwrap_or(&"nft").into(),
            applied: None,
        }
    }

    /// Writes the table if it changed or if somebody removed it.
    pub(super) async fn ensure(&mut self, pods: &Ipv4Net, cluster: &Ipv4Net) -> Result<(), Error> {
        let wanted = ruleset(pods, cluster);
        if self.applied.as_deref() == Some(wanted.as_str()) && self.is_there().await {
            return Ok(());
        }
        self.run(&["-f", "-"], &wanted).await?;
        self.applied = Some(wanted);
        Ok(())
    }

    async fn is_there(&self) -> bool {
        self.run(&["list", "chain", "inet", TABLE, "postrouting"], "")
            .await
            .is_ok()
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<(), Error> {
        let failed =
            |reason: String| Error::network(format!("nft {}", arguments.join(" ")), reason);
        let mut child = Command::new(&self.nft)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(input.as_bytes())
                .await
                .map_err(|e| failed(e.to_string()))?;
        }
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output())
            .await
            .map_err(|_| failed("not done within 10 s".into()))?
            .map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_traffic_inside_the_cluster_alone() {
        let text = ruleset(
            &"10.244.1.0/24".parse().unwrap(),
            &"10.244.0.0/16".parse().unwrap(),
        );
        assert!(text.contains("ip saddr 10.244.1.0/24 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 }"));
        assert!(text.contains("masquerade"));
    }
}
