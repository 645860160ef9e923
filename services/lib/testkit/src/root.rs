//! A cluster's five authorities in memory.

use sextant_identity::{
    Authority, Credentials, Identity, KeyPair, Leaf, Mesh, TrustBundle, TrustDomain,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Five authorities that sign whatever a test wants.
#[derive(Clone)]
pub struct Root {}

/// What to sign.
#[derive(Clone, Debug)]
pub struct RootBuilder {}

impl Root {
    /// New authorities, trust domain `test.sextant.internal`.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        unimplemented!()
    }
    /// The anchors.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        unimplemented!()
    }
    /// A mesh for `identity` with a fresh certificate of 24 h.
    pub fn mesh(&self, identity: impl Into<Identity>) -> Mesh {
        let _ = identity.into();
        unimplemented!()
    }
    /// [`Self::mesh`] and the senders that rotate its certificate and anchors.
    pub fn rotating_mesh(
        &self,
        identity: impl Into<Identity>,
    ) -> (
        Mesh,
        watch::Sender<Arc<Credentials>>,
        watch::Sender<Arc<TrustBundle>>,
    ) {
        let _ = identity.into();
        unimplemented!()
    }
    /// Credentials of `identity` by `authority`, valid from `-age` for `life`.
    pub fn credentials(
        &self,
        authority: Authority,
        identity: &Identity,
        dns: &[&str],
        age: Duration,
        life: Duration,
    ) -> Credentials {
        let _ = (authority, identity, dns, age, life);
        unimplemented!()
    }
    /// A leaf of the datastore authority with `identity`'s URI SAN.
    pub fn datastore_leaf(&self, identity: impl Into<Identity>) -> Leaf {
        let _ = identity.into();
        unimplemented!()
    }
    /// Key of one authority as PKCS#8 PEM, for tests that run a real issuer.
    pub fn authority_key(&self, authority: Authority) -> KeyPair {
        let _ = authority;
        unimplemented!()
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}
