//! What processes cost, as this machine's kernel tells it: node containers share it, so all pods' processes are here.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// One process.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

/// Memory and processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Its share of what is in memory (PSS): pages of a binary that n planes run count 1/n for each.
    pub proportional: u64,
    /// What is its alone and backed by no file.
    pub anonymous: u64,
    /// User and system time since its start.
    pub processor: Duration,
}

impl Cost {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.proportional += other.proportional;
        self.anonymous += other.anonymous;
        self.processor += other.processor;
    }
}

/// Processes by the id of their container, as their cgroups' names hold it.
pub fn by_container() -> Result<BTreeMap<String, Vec<Process>>> {
    let mut found = BTreeMap::<String, Vec<Process>>::new();
    for entry in std::fs::read_dir("/proc")
        .context("reading /proc")?
        .flatten()
    {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that has ended meanwhile costs nothing.
        let Ok(groups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
            continue;
        };
        if let Some(id) = container(&groups) {
            found.entry(id.to_owned()).or_default().push(Process(pid));
        }
    }
    Ok(found)
}

/// The last 64 hexadecimal digits of a cgroup's path: a pod's container is inside its node's.
fn container(groups: &str) -> Option<&str> {
    let line = groups.lines().find(|line| line.contains("kubepods"))?;
    let last = line.rsplit('/').next()?;
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let id = last.get(last.len().checked_sub(64)?..)?;
    id.bytes().all(|b| b.is_ascii_hexdigit()).then_some(id)
}

impl Process {
    /// What it costs now; nothing if it has ended.
    pub fn cost(self) -> Result<Cost> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0));
        let (rollup, stat) = match (rollup, stat) {
            (Ok(rollup), Ok(stat)) => (rollup, stat),
            (Err(error), _) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(error).context("reading what others' processes cost takes root");
            }
            _ => return Ok(Cost::default()),
        };
        Ok(Cost {
            proportional: kilobytes(&rollup, "Pss:"),
            anonymous: kilobytes(&rollup, "Anonymous:"),
            processor: processor(&stat).unwrap_or_default(),
        })
    }
}

fn kilobytes(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Fields 14 and 15, in the hundredths of a second that Linux shows to programs; the name before may hold anything.
fn processor(stat: &str) -> Option<Duration> {
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_container_is_found_in_both_kinds_of_cgroups() {
        let (node, id) = ("a".repeat(64), "0123456789abcdef".repeat(4));
        let old = format!("9:memory:/docker/{node}/kubepods/burstable/pod1/{id}\n");
        let new = format!(
            "0::/system.slice/docker-{node}.scope/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"
        );
        assert_eq!(container(&old), Some(id.as_str()));
        assert_eq!(container(&new), Some(id.as_str()));
        assert_eq!(container(&format!("9:memory:/docker/{node}\n")), None);
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(processor(stat), Some(Duration::from_secs(2)));
        let rollup = "00400000-7fff rw-p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:   100 kB\nPss_Anon: 7 kB\nAnonymous:   80 kB\n";
        assert_eq!(kilobytes(rollup, "Pss:"), 100 * 1024);
        assert_eq!(kilobytes(rollup, "Anonymous:"), 80 * 1024);
        assert!(Process(std::process::id()).cost().unwrap().proportional > 0);
    }
}
