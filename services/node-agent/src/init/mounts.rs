//! Mounts that the node needs.

use crate::error::Error;
use nix::mount::{MsFlags, mount};
use std::path::Path;

/// One line of /proc/self/mountinfo, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) target: String,
    pub(super) read_only: bool,
    pub(super) kind: String,
}

/// The mounts of this process.
pub(super) fn list() -> Result<Vec<Mount>, Error> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(path).map_err(|e| Error::file("reading", path, e))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Lets mounts made here reach pods and come back: volumes of the kubelet need it.
pub(super) fn share_all() -> Result<(), Error> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None::<&str>,
    )
    .map_err(|e| {
        failed(
            "making all mounts shared (is CAP_SYS_ADMIN granted, and AppArmor off?)",
            e,
        )
    })
}

/// Mounts a tmpfs where the container's engine didn't.
pub(super) fn ensure_tmpfs(mounts: &[Mount], target: &str, options: &str) -> Result<(), Error> {
    if mounts.iter().any(|mount| mount.target == target) || !Path::new(target).is_dir() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .map_err(|e| failed(&format!("mounting a tmpfs on {target}"), e))
}

/// Makes a mount writable that the engine made read-only.
pub(super) fn make_writable(target: &str) -> Result<(), Error> {
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .map_err(|e| failed(&format!("making {target} writable"), e))
}

fn failed(what: &str, error: nix::errno::Errno) -> Error {
    Error::file("mounting:", what, error.into())
}

/// `36 35 98:0 /root /target ro,nosuid shared:1 - cgroup cgroup rw,memory`
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(4);
    let target = fields.next()?.to_owned();
    let read_only = fields.next()?.split(',').any(|option| option == "ro");
    Some(Mount {
        target,
        read_only,
        kind: right.split(' ').next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mountinfo() {
        let line =
            "36 35 98:0 /a /sys/fs/cgroup/memory ro,nosuid master:1 - cgroup cgroup rw,memory";
        let mount = parse(line).unwrap();
        assert_eq!(
            (mount.target.as_str(), mount.read_only),
            ("/sys/fs/cgroup/memory", true)
        );
        assert_eq!(mount.kind, "cgroup");
        let line = "36 35 98:0 / / rw,relatime - overlay overlay rw,errors=remount-ro";
        assert!(!parse(line).unwrap().read_only);
        assert_eq!(parse("nonsense"), None);
    }
}
