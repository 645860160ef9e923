//! This process' place in the mesh.

use crate::channel::{CONNECT_DEADLINE, Channel, Dial, Peer, connect};
use crate::identity::{Identity, ServiceName};
use crate::key::Credentials;
use crate::leaf::Leaf;
use crate::serve::{ClientAuth, ServerTls};
use crate::tls::{self, Material, Wanted};
use crate::trust::{Authority, TrustBundle};
use sextant_kit::telemetry::collector::{self, Connection};
use sextant_proto::certauthority::cert_authority_client::CertAuthorityClient;
use std::sync::Arc;
use tokio::sync::watch;

/// Where cert-authority is unless told otherwise.
pub(crate) const CERT_AUTHORITY: &str = "cert-authority:7443";
/// Connections of a channel that is spread: one client keeps so many replicas busy.
const SPREAD: usize = 4;

/// A mesh identity with its current certificate and anchors. Cheap to clone; clones share both.
#[derive(Clone, Debug)]
pub struct Mesh {
    identity: Identity,
    cert_authority: Arc<str>,
    credentials: watch::Receiver<Arc<Credentials>>,
    trust: watch::Receiver<Arc<TrustBundle>>,
}

impl Mesh {
    /// A mesh from values that somebody else keeps fresh: cert-authority itself, node-agent, the CLI, tests.
    /// Services use [`Mesh::enroll`].
    pub fn from_parts(
        identity: Identity,
        credentials: watch::Receiver<Arc<Credentials>>,
        trust: watch::Receiver<Arc<TrustBundle>>,
    ) -> Mesh {
        Mesh {
            identity,
            cert_authority: CERT_AUTHORITY.into(),
            credentials,
            trust,
        }
    }

    /// The same mesh with another address to ask for certificates ([`Self::cert_authority`], [`Leaf::obtain`]).
    #[must_use]
    pub fn with_cert_authority(self, address: &str) -> Mesh {
        Mesh {
            cert_authority: address.into(),
            ..self
        }
    }

    /// Who this process is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The anchors, followed.
    pub fn trust(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.trust.clone()
    }

    /// The mesh certificate and key, followed.
    pub fn credentials(&self) -> watch::Receiver<Arc<Credentials>> {
        self.credentials.clone()
    }

    /// A lazy channel to `address` (host:port). Every connect resolves all addresses, picks one at random, uses
    /// the newest certificate, and demands that the peer is `peer`.
    pub fn channel(&self, address: &str, peer: Peer) -> Channel {
        dial(self.material(), address, peer, 1)
    }

    /// [`Mesh::channel`] for calls that any replica answers: those that overlap go over up to four connections, to as
    /// many replicas.
    pub fn spread_channel(&self, address: &str, peer: Peer) -> Channel {
        dial(self.material(), address, peer, SPREAD)
    }

    /// TLS for a mesh listener.
    pub fn server_tls(&self, client: ClientAuth) -> ServerTls {
        ServerTls::new(self.material(), client)
    }

    /// TLS for datastore-proxy's listener: the leaf of profile DATASTORE_SERVER, clients of the datastore
    /// authority required.
    pub fn datastore_server_tls(&self, leaf: &Leaf) -> ServerTls {
        ServerTls::new(self.datastore_material(leaf), ClientAuth::Required)
    }

    /// A channel to datastore-proxy (host:port) with a DATASTORE_CLIENT leaf.
    pub fn datastore_channel(&self, address: &str, leaf: &Leaf) -> Channel {
        let peer = Peer::Service(ServiceName::DatastoreProxy);
        dial(self.datastore_material(leaf), address, peer, 1)
    }

    /// A client of cert-authority.
    pub fn cert_authority(&self) -> CertAuthorityClient<Channel> {
        let peer = Peer::Service(ServiceName::CertAuthority);
        CertAuthorityClient::new(self.channel(&self.cert_authority, peer))
    }

    /// Lets this process tell its collector what it does, as this identity: only now does the way to one with `https://`
    /// open. [`Mesh::enroll`] does it by itself.
    pub fn secure_telemetry(&self) {
        let collector = Peer::Service(ServiceName::Collector);
        let dial = dialling(self.material(), collector);
        collector::secure(move |address| {
            let dial = Arc::clone(&dial.borrow());
            Box::pin(async move {
                let connecting =
                    tokio::time::timeout(CONNECT_DEADLINE, connect(&address, &dial, |_| 0));
                let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
                Ok(Box::new(connecting.await.map_err(late)??) as Box<dyn Connection>)
            })
        });
    }

    /// host:port of cert-authority.
    pub(crate) fn cert_authority_address(&self) -> &str {
        &self.cert_authority
    }

    fn material(&self) -> Material {
        Material {
            authority: Authority::Mesh,
            credentials: self.credentials.clone(),
            trust: self.trust.clone(),
        }
    }

    fn datastore_material(&self, leaf: &Leaf) -> Material {
        Material {
            authority: Authority::Datastore,
            credentials: leaf.credentials(),
            trust: self.trust.clone(),
        }
    }
}

/// A channel to `address` that demands `peer`.
fn dial(material: Material, address: &str, peer: Peer, connections: usize) -> Channel {
    Channel::new(address, dialling(material, peer), connections)
}

/// What connections to `peer` are made with, followed.
fn dialling(material: Material, peer: Peer) -> watch::Receiver<Arc<Dial>> {
    let authority = material.authority;
    let dial = material.derive(move |credentials, trust| {
        let wanted = Wanted {
            trust_domain: Some(trust.trust_domain.clone()),
            peer: peer.clone(),
        };
        let anchors = trust.anchors(authority);
        let config = tls::client_config(anchors, wanted, Some(credentials), &[b"h2"])?;
        Ok(Dial::new(
            config,
            Some((credentials.not_before, credentials.not_after)),
        ))
    });
    dial.unwrap_or_else(|error| watch::channel(Arc::new(Dial::impossible(error.to_string()))).1)
}
