//! Certificates of other profiles, each with a key of its own, that renew themselves.

use crate::error::Error;
use crate::key::Credentials;
use crate::mesh::Mesh;
use sextant_kit::Context;
use sextant_proto::certauthority::{NodeSubject, Profile};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// What to ask cert-authority for.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafRequest {
    /// Row of the issuing table.
    pub profile: Profile,
    /// For node profiles.
    pub node: Option<NodeSubject>,
    /// Wished life in seconds; 0 takes the profile's.
    pub ttl_seconds: i64,
}

impl From<Profile> for LeafRequest {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            node: None,
            ttl_seconds: 0,
        }
    }
}

/// A certificate that renews itself at half life until the drain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leaf {
    credentials: watch::Receiver<Arc<Credentials>>,
}

impl Leaf {
    /// Obtains it, waiting with back-off (readiness task `certificate <PROFILE>`). Fails only when drained.
    pub async fn obtain(
        mesh: &Mesh,
        request: impl Into<LeafRequest>,
        ctx: &Context,
    ) -> Result<Leaf, Error> {
        let _ = (mesh, request.into(), ctx);
        unimplemented!()
    }

    /// A leaf from values that somebody else keeps fresh.
    pub fn from_parts(credentials: watch::Receiver<Arc<Credentials>>) -> Leaf {
        Leaf { credentials }
    }

    /// Chain and key, followed.
    pub fn credentials(&self) -> watch::Receiver<Arc<Credentials>> {
        self.credentials.clone()
    }

    /// Writes `<dir>/<name>.crt` (0644) and `<dir>/<name>.key` (0600) now, and again by rename after each
    /// renewal until the drain.
    pub async fn write_files(&self, dir: &Path, name: &str, ctx: &Context) -> Result<(), Error> {
        let _ = (dir, name, ctx);
        unimplemented!()
    }
}
