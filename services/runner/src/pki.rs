//! The component's certificates and trust bundles, kept fresh in its tmpfs.

use std::{
    fs::{self, Permissions},
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use futures::future::try_join_all;
use sextant_identity::{Leaf, Mesh, TrustBundle};
use sextant_kit::Context;

use crate::{
    domain::component::{BUNDLES, Component, PROBE},
    error::Error,
    kept::write_file,
};

/// Makes `folder` hold everything of `component` and keeps it fresh until the drain. Waits for cert-authority.
/// Returns the certificate to probe with.
pub(crate) async fn provide(
    component: Component,
    mesh: &Mesh,
    folder: &Path,
    ctx: &Context,
) -> Result<Leaf, Error> {
    private_folder(folder)?;
    let trust = mesh.trust().borrow().clone();
    write_bundles(folder, &trust)?;
    ctx.drain
        .spawn(follow_trust(mesh.clone(), folder.to_owned()));

    let obtain = component
        .certificates()
        .iter()
        .map(|(profile, name)| async move {
            let leaf = Leaf::obtain(mesh, *profile, ctx).await?;
            leaf.write_files(folder, name, ctx).await?;
            Ok::<_, Error>((*name, leaf))
        });
    let mut leafs = try_join_all(obtain).await?.into_iter();
    let probe = leafs.find(|(name, _)| *name == PROBE).map(|(_, leaf)| leaf);
    // The table names one for each component.
    probe.ok_or(Error::Drained)
}

/// Makes a folder that only this user can enter.
pub(crate) fn private_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("writing", folder))?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
        .map_err(Error::file("writing", folder))
}

/// [`private_folder`], if it is ours: a pod's mount belongs to root and is open to the pod's group. What is put into
/// such a one is private itself, and who is in the pod's group is this pod alone.
pub(crate) fn mounted_folder(folder: &Path) -> Result<(), Error> {
    match private_folder(folder) {
        Err(Error::File { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            tracing::info!(folder = %folder.display(), "not our own folder: its mode stays");
            Ok(())
        }
        made => made,
    }
}

async fn follow_trust(mesh: Mesh, folder: PathBuf) {
    let mut trust = mesh.trust();
    while trust.changed().await.is_ok() {
        let bundle = trust.borrow_and_update().clone();
        match write_bundles(&folder, &bundle) {
            Ok(()) => tracing::info!(generation = bundle.generation, "wrote trust bundles"),
            Err(error) => tracing::error!(%error, "trust bundles stay as they are"),
        }
    }
}

/// Replaces only what changed, so that nobody reloads for nothing.
fn write_bundles(folder: &Path, trust: &TrustBundle) -> Result<(), Error> {
    for (authority, name) in BUNDLES {
        let (path, pem) = (folder.join(name), trust.anchors_pem(authority));
        if !fs::read_to_string(&path).is_ok_and(|present| present == pem) {
            write_file(&path, pem.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, chown};
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// Tells this program that it is the pod, and where its mount is.
    const MOUNT: &str = "TEST_MOUNT";
    /// Of our images.
    const USER: u32 = 65532;

    #[test]
    fn our_own_folder_is_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        mounted_folder(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    /// As kubelet makes an `emptyDir` for a pod with `fsGroup`.
    #[test]
    fn a_mount_of_a_pod_is_taken_and_what_is_in_it_is_private() {
        if let Some(mount) = std::env::var_os(MOUNT) {
            return as_the_pod(Path::new(&mount));
        }
        let root = tempfile::tempdir().unwrap();
        if fs::metadata(root.path()).unwrap().uid() != 0 {
            println!("SKIP only root can start a process of another user");
            return;
        }
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let (mount, program) = (root.path().join("mount"), root.path().join("program"));
        fs::create_dir(&mount).unwrap();
        chown(&mount, Some(0), Some(USER)).unwrap();
        fs::set_permissions(&mount, Permissions::from_mode(0o2777)).unwrap();
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let output = Command::new(program)
            .args(["a_mount_of_a_pod", "--nocapture"])
            .env(MOUNT, &mount)
            .current_dir("/")
            .uid(USER)
            .gid(USER)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("1 passed"), "{said}");
        assert_eq!(mode(&mount), 0o2777);
        assert_eq!(mode(&mount.join("pki")), 0o700);
        assert_eq!(fs::metadata(mount.join("pki")).unwrap().uid(), USER);
    }

    fn as_the_pod(mount: &Path) {
        mounted_folder(mount).unwrap();
        private_folder(&mount.join("pki")).unwrap();
        assert!(private_folder(mount).is_err(), "it isn't ours");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }
}
