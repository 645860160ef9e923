//! What each image holds, as folders that Docker copies.

use super::reference;
use crate::debian::Suite;
use crate::services::PROGRAMS;
use crate::upstream::Upstream;
use crate::{paths, rootfs, run};
use anyhow::{Context, Result};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nodes that compose/compose.yaml names, and one more for trying a join by hand.
const NODES: &[&str] = &["node-1", "node-2"];

/// Identities whose enrolment volumes cert-authority keeps.
const ENROLLED: &[&str] = &[
    "admin",
    "collector",
    "datastore-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "supervisor",
    "token-service",
];

/// Images that every node brings with it, so that a cluster starts without a registry.
const BAKED: &[&str] = &["pause", "coredns", "netpol-controller", "toolbox"];

/// Images of add-ons, which every node brings, too, but which none waits for.
const BAKED_LATE: &[&str] = &["local-path-provisioner", "metrics-server"];

/// The files of images.
pub(super) struct Layout<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) programs: &'a Path,
    pub(super) contexts: &'a Path,
}

impl Layout<'_> {
    /// Lays out the files of one.
    pub(super) fn lay_out(&self, image: &str) -> Result<()> {
        let folder = self.contexts.join(image);
        paths::remove(&folder)?;
        let (root, skeleton) = (folder.join("files"), folder.join("skeleton"));
        paths::create(&root)?;
        paths::create(&skeleton)?;
        if PROGRAMS.iter().any(|(program, _)| *program == image) {
            link(
                &self.programs.join(image),
                &root.join("usr/local/bin").join(image),
            )?;
        }
        match image {
            "cert-authority" => {
                self.service(
                    &root,
                    &skeleton,
                    &["var/lib/sextant", "var/lib/sextant-seal"],
                )?;
                folders(
                    &skeleton,
                    ENROLLED.iter().map(|name| format!("enrol/{name}")),
                )
            }
            "supervisor" => {
                self.service(&root, &skeleton, &["enrol", "var/lib/sextant"])?;
                folders(&skeleton, NODES.iter().map(|name| format!("nodes/{name}")))
            }
            "token-service" | "datastore-proxy" | "runner" => {
                self.service(&root, &skeleton, &["enrol", "var/lib/sextant"])
            }
            "kube-apiserver" | "kube-controller-manager" | "kube-scheduler" => link(
                &self.upstream.program(image)?,
                &root.join("usr/local/bin").join(image),
            ),
            "netpol-controller" => accounts(&root),
            "cli" => {
                accounts(&root)?;
                let program = root.join("usr/local/bin/sextant");
                link(&self.programs.join("sextant"), &program)
            }
            "coredns" | "local-path-provisioner" | "metrics-server" => {
                accounts(&root)?;
                link(
                    &self.upstream.program(image)?,
                    &root.join("usr/local/bin").join(image),
                )
            }
            "pause" => link(&self.upstream.program(image)?, &root.join("pause")),
            "toolbox" => self.toolbox(&root, &skeleton),
            "node" => self.node(&root, &skeleton),
            other => anyhow::bail!("no layout for image {other}"),
        }
    }

    fn service(&self, root: &Path, skeleton: &Path, mounts: &[&str]) -> Result<()> {
        accounts(root)?;
        folders(
            skeleton,
            mounts
                .iter()
                .map(|m| (*m).to_owned())
                .chain(["run/sextant".to_owned()]),
        )
    }

    fn toolbox(&self, root: &Path, skeleton: &Path) -> Result<()> {
        // bookworm's build (1.35.0-4+deb12u1) crashes in wget.
        let unpacked = Suite::Other("trixie").unpacked(&["busybox-static"])?;
        let busybox = root.join("bin/busybox");
        rootfs::install(&unpacked.join("usr/bin/busybox"), &busybox, 0o755)?;
        let applets = run::output(Command::new(&busybox).arg("--list"))?;
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        accounts(root)?;
        folders(skeleton, ["home".to_owned(), "tmp".to_owned()])
    }

    fn node(&self, root: &Path, skeleton: &Path) -> Result<()> {
        rootfs::node(root)?;
        accounts(root)?;
        // What `kubectl get nodes -o wide` shows as the node's system.
        let version = env!("CARGO_PKG_VERSION");
        std::fs::write(
            root.join("etc/os-release"),
            format!(
                "ID=sextant\nNAME=Sextant\nVERSION_ID={version}\nPRETTY_NAME=\"Sextant {version}\"\n"
            ),
        )?;
        let bin = root.join("usr/bin");
        link(&self.programs.join("node-agent"), &bin.join("node-agent"))?;
        for program in [
            "containerd",
            "containerd-shim-runc-v2",
            "ctr",
            "runc",
            "kubelet",
            "kube-proxy",
        ] {
            link(&self.upstream.program(program)?, &bin.join(program))?;
        }
        for plugin in ["ptp", "loopback", "host-local", "portmap"] {
            link(
                &self.upstream.program(plugin)?,
                &root.join("opt/cni/bin").join(plugin),
            )?;
        }
        // The last plugin of the chain is node-agent under another name.
        symlink(
            "/usr/bin/node-agent",
            root.join("opt/cni/bin/sextant-policy"),
        )?;
        for image in BAKED {
            self.bake(image, &root.join("usr/share/sextant/images"))?;
        }
        for image in BAKED_LATE {
            self.bake(image, &root.join("usr/share/sextant/images/late"))?;
        }
        for mount in [
            "dev",
            "etc/cni",
            "proc",
            "run",
            "sys",
            "tmp",
            "var/lib/cni",
            "var/lib/containerd",
            "var/lib/kubelet",
            "var/lib/sextant",
            "var/lib/sextant-images",
            "var/log",
        ] {
            paths::create(&root.join(mount))?;
        }
        private(&root.join("var/lib/sextant"))?;
        symlink("/run", root.join("var/run"))?;
        // Shared with the supervisor, which writes the join token into it.
        folders(skeleton, ["join".to_owned()])
    }

    /// Saves an image as an archive; one whose id hasn't changed isn't saved again.
    fn bake(&self, image: &str, target: &Path) -> Result<()> {
        let reference = reference(image);
        let id = run::output(
            Command::new("docker").args(["image", "inspect", "-f", "{{.Id}}", &reference]),
        )?;
        let saved = paths::out().join("saved");
        paths::create(&saved)?;
        let archive = saved.join(format!("{image}-{}.tar", id.trim_start_matches("sha256:")));
        if !archive.is_file() {
            forget(&saved, image)?;
            let partial = archive.with_extension("partial");
            run::output(
                Command::new("docker")
                    .args(["save", "--output"])
                    .arg(&partial)
                    .arg(&reference),
            )?;
            std::fs::rename(&partial, &archive)?;
        }
        link(&archive, &target.join(format!("{image}.tar")))
    }
}

/// Removes the archives of an image's former builds.
fn forget(saved: &Path, image: &str) -> Result<()> {
    let entries = std::fs::read_dir(saved).with_context(|| format!("reading {}", saved.display()));
    for entry in entries?.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{image}-"))
        {
            let path = entry.path();
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Empty folders with mode 0700.
pub(super) fn folders(skeleton: &Path, names: impl IntoIterator<Item = String>) -> Result<()> {
    for name in names {
        let folder = skeleton.join(name);
        paths::create(&folder)?;
        private(&folder)?;
    }
    Ok(())
}

fn private(folder: &Path) -> Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("setting the mode of {}", folder.display()))
}

/// Names for the two users that occur, and a name service that reads files and DNS.
pub(super) fn accounts(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    paths::create(&etc)?;
    std::fs::write(
        etc.join("passwd"),
        "root:x:0:0:root:/root:/sbin/nologin\nsextant:x:65532:65532:Sextant:/:/sbin/nologin\n",
    )?;
    std::fs::write(etc.join("group"), "root:x:0:\nsextant:x:65532:\n")?;
    std::fs::write(etc.join("nsswitch.conf"), "hosts: files dns\n")?;
    Ok(())
}

/// A hard link where possible (contexts hold hundreds of MiB), else a copy.
pub(super) fn link(from: &Path, to: &Path) -> Result<()> {
    let folder: PathBuf = to.parent().map(Path::to_owned).unwrap_or_default();
    paths::create(&folder)?;
    let _ = std::fs::remove_file(to);
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
