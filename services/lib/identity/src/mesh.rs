//! This process' place in the mesh.

use crate::channel::{Channel, Peer};
use crate::enroll::EnrollConfig;
use crate::error::Error;
use crate::identity::Identity;
use crate::key::Credentials;
use crate::leaf::Leaf;
use crate::serve::{ClientAuth, ServerTls};
use crate::trust::TrustBundle;
use sextant_kit::Context;
use sextant_proto::certauthority::cert_authority_client::CertAuthorityClient;
use std::sync::Arc;
use tokio::sync::watch;

/// A mesh identity with its current certificate and anchors. Cheap to clone; clones share both.
#[derive(Clone, Debug)]
pub struct Mesh {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    cert_authority: Option<String>,
    credentials: watch::Receiver<Arc<Credentials>>,
    trust: watch::Receiver<Arc<TrustBundle>>,
}

impl Mesh {
    /// Enrols with the token and pinned CA in the enrolment folder, waiting with back-off for both and for
    /// cert-authority; then renews in the background at half life, follows trust, and enrols again when expired
    /// or refused. Readiness task `identity` says what it waits for. Fails only when drained.
    pub async fn enroll(
        config: &EnrollConfig,
        identity: Identity,
        ctx: &Context,
    ) -> Result<Mesh, Error> {
        let _ = (config, identity, ctx);
        unimplemented!()
    }

    /// A mesh from values that somebody else keeps fresh: cert-authority itself, node-agent, the CLI, tests.
    pub fn from_parts(
        identity: Identity,
        credentials: watch::Receiver<Arc<Credentials>>,
        trust: watch::Receiver<Arc<TrustBundle>>,
    ) -> Mesh {
        Mesh {
            inner: Arc::new(Inner {
                identity,
                cert_authority: None,
                credentials,
                trust,
            }),
        }
    }

    /// The same mesh with an address to ask for certificates ([`Self::cert_authority`], [`Leaf::obtain`]).
    pub fn with_cert_authority(self, address: &str) -> Mesh {
        let _ = address;
        unimplemented!()
    }

    /// Who this process is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The anchors, followed.
    pub fn trust(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.inner.trust.clone()
    }

    /// The mesh certificate and key, followed.
    pub fn credentials(&self) -> watch::Receiver<Arc<Credentials>> {
        self.inner.credentials.clone()
    }

    /// A lazy channel to `address` (host:port). Every connect resolves all addresses, picks one at random, uses
    /// the newest certificate, and demands that the peer is `peer`.
    pub fn channel(&self, address: &str, peer: Peer) -> Channel {
        let _ = (address, peer, &self.inner.cert_authority);
        unimplemented!()
    }

    /// TLS for a mesh listener.
    pub fn server_tls(&self, client: ClientAuth) -> ServerTls {
        let _ = client;
        unimplemented!()
    }

    /// TLS for datastore-proxy's listener: the leaf of profile DATASTORE_SERVER, clients of the datastore
    /// authority required.
    pub fn datastore_server_tls(&self, leaf: &Leaf) -> ServerTls {
        let _ = leaf;
        unimplemented!()
    }

    /// A client of cert-authority.
    pub fn cert_authority(&self) -> CertAuthorityClient<Channel> {
        unimplemented!()
    }

    /// A channel to datastore-proxy (host:port) with a DATASTORE_CLIENT leaf, for `etcd_client::Client::from_channel`:
    /// `Channel::Custom(tower::util::BoxCloneSyncService::new(channel.map_err(Into::into)))`.
    pub fn datastore_channel(&self, address: &str, leaf: &Leaf) -> Channel {
        let _ = (address, leaf);
        unimplemented!()
    }
}
