//! Control groups that the kubelet may divide further.

use super::mounts::{Mount, make_writable};
use crate::error::Error;
use std::fs;
use std::path::Path;

const ROOT: &str = "/sys/fs/cgroup";
/// With version 2 the root may hold no processes once it gives controllers to its children.
const LEAF: &str = "sextant";
/// Moving takes as many rounds as processes start meanwhile.
const ROUNDS: usize = 100;

/// Makes every hierarchy writable; with version 2 also moves processes out of the root and hands out controllers.
pub(super) fn set_up(mounts: &[Mount]) -> Result<(), Error> {
    for mount in mounts.iter().filter(|mount| mount.target.starts_with(ROOT)) {
        if mount.read_only && mount.kind.starts_with("cgroup") {
            make_writable(&mount.target)?;
        }
    }
    let unified = mounts
        .iter()
        .any(|mount| mount.target == ROOT && mount.kind == "cgroup2");
    if unified {
        delegate(Path::new(ROOT))
    } else {
        Ok(())
    }
}

fn delegate(root: &Path) -> Result<(), Error> {
    let leaf = root.join(LEAF);
    fs::create_dir_all(&leaf).map_err(|e| Error::file("making", &leaf, e))?;
    let (from, to) = (root.join("cgroup.procs"), leaf.join("cgroup.procs"));
    for _ in 0..ROUNDS {
        let processes = read(&from)?;
        if processes.trim().is_empty() {
            break;
        }
        for process in processes.lines() {
            // It may be gone by now.
            let _ = fs::write(&to, process);
        }
    }
    let control = root.join("cgroup.subtree_control");
    for controller in read(&root.join("cgroup.controllers"))?.split_whitespace() {
        if let Err(error) = fs::write(&control, format!("+{controller}")) {
            eprintln!("control group controller {controller} can't be handed out: {error}");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::file("reading", path, e))
}
