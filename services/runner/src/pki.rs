//! The component's certificates and trust bundles, kept fresh in its tmpfs.

use std::{
    fs::{self, Permissions},
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
