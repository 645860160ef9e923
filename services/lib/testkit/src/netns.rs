//! Network namespaces for tests. They need root; without it a test prints SKIP and returns.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A named network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new namespace with loopback up, or `None` (and a line `SKIP …`) where none can be made.
    pub fn new() -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP network namespaces need root");
            return None;
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sxt-{}-{number}", std::process::id());
        if let Err(reason) = ip(&["netns", "add", &name]) {
            println!("SKIP no network namespace can be made: {reason}");
            return None;
        }
        let netns = Self { name };
        netns.ip(&["link", "set", "lo", "up"]);
        Some(netns)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `ip` inside; panics when it fails.
    pub fn ip(&self, args: &[&str]) {
        let all: Vec<_> = ["-n", &self.name]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        if let Err(reason) = ip(&all) {
            panic!("ip {}: {reason}", all.join(" "));
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Nothing to do about a namespace that can't be deleted.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
