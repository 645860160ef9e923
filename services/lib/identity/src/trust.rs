//! Anchors: the five authorities of a cluster.

use crate::error::Error;
use crate::identity::TrustDomain;
use rustls_pki_types::CertificateDer;
use sextant_proto::{certauthority, supervisor};

/// One of the five authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Authority {
    /// Client certificates that kube-apiserver and kubelets accept.
    ClusterClient,
    /// Serving certificates of kube-apiserver, kubelets and components.
    ClusterServer,
    /// datastore-proxy and its clients.
    Datastore,
    /// Sextant's own services, nodes and admins.
    Mesh,
    /// The aggregation layer's proxy client.
    RequestHeader,
}

impl Authority {
    /// All five.
    pub const ALL: [Authority; 5] = [
        Authority::ClusterClient,
        Authority::ClusterServer,
        Authority::Datastore,
        Authority::Mesh,
        Authority::RequestHeader,
    ];
}

/// Whom to trust for what. A whole value: each change makes a new one with a higher generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// The cluster's trust domain.
    pub trust_domain: TrustDomain,
    /// Grows with each change.
    pub generation: u64,
    /// Anchors of [`Authority::Mesh`].
    pub mesh: Vec<CertificateDer<'static>>,
    /// Anchors of [`Authority::ClusterServer`].
    pub cluster_server: Vec<CertificateDer<'static>>,
    /// Anchors of [`Authority::ClusterClient`].
    pub cluster_client: Vec<CertificateDer<'static>>,
    /// Anchors of [`Authority::RequestHeader`].
    pub request_header: Vec<CertificateDer<'static>>,
    /// Anchors of [`Authority::Datastore`].
    pub datastore: Vec<CertificateDer<'static>>,
}

impl TrustBundle {
    /// The anchors of one authority.
    pub fn anchors(&self, authority: Authority) -> &[CertificateDer<'static>] {
        match authority {
            Authority::ClusterClient => &self.cluster_client,
            Authority::ClusterServer => &self.cluster_server,
            Authority::Datastore => &self.datastore,
            Authority::Mesh => &self.mesh,
            Authority::RequestHeader => &self.request_header,
        }
    }

    /// The anchors of one authority as PEM.
    pub fn anchors_pem(&self, authority: Authority) -> String {
        certificates_to_pem(self.anchors(authority))
    }

    /// The mesh anchors as PEM; its SHA-256 is what a join token pins.
    pub fn mesh_pem(&self) -> String {
        self.anchors_pem(Authority::Mesh)
    }

    /// The datastore anchors as PEM.
    pub fn datastore_pem(&self) -> String {
        self.anchors_pem(Authority::Datastore)
    }

    /// The cluster-server anchors as PEM.
    pub fn cluster_server_pem(&self) -> String {
        self.anchors_pem(Authority::ClusterServer)
    }

    /// The cluster-client anchors as PEM.
    pub fn cluster_client_pem(&self) -> String {
        self.anchors_pem(Authority::ClusterClient)
    }

    /// The request-header anchors as PEM.
    pub fn request_header_pem(&self) -> String {
        self.anchors_pem(Authority::RequestHeader)
    }
}

impl TryFrom<certauthority::TrustBundle> for TrustBundle {
    type Error = Error;

    fn try_from(bundle: certauthority::TrustBundle) -> Result<Self, Error> {
        Ok(Self {
            trust_domain: bundle.trust_domain.parse()?,
            generation: bundle.generation,
            mesh: anchors_from_pem(&bundle.mesh_pem)?,
            cluster_server: anchors_from_pem(&bundle.cluster_server_pem)?,
            cluster_client: anchors_from_pem(&bundle.cluster_client_pem)?,
            request_header: anchors_from_pem(&bundle.request_header_pem)?,
            datastore: anchors_from_pem(&bundle.datastore_pem)?,
        })
    }
}

impl From<&TrustBundle> for certauthority::TrustBundle {
    fn from(bundle: &TrustBundle) -> Self {
        Self {
            trust_domain: bundle.trust_domain.to_string(),
            generation: bundle.generation,
            mesh_pem: bundle.mesh_pem(),
            cluster_server_pem: bundle.cluster_server_pem(),
            cluster_client_pem: bundle.cluster_client_pem(),
            request_header_pem: bundle.request_header_pem(),
            datastore_pem: bundle.datastore_pem(),
        }
    }
}

/// What nodes and operators are given: no request-header and datastore anchors.
impl TryFrom<supervisor::Trust> for TrustBundle {
    type Error = Error;

    fn try_from(trust: supervisor::Trust) -> Result<Self, Error> {
        Ok(Self {
            trust_domain: trust.trust_domain.parse()?,
            generation: trust.generation,
            mesh: anchors_from_pem(&trust.mesh_pem)?,
            cluster_server: anchors_from_pem(&trust.cluster_server_pem)?,
            cluster_client: anchors_from_pem(&trust.cluster_client_pem)?,
            request_header: Vec::new(),
            datastore: Vec::new(),
        })
    }
}

impl From<&TrustBundle> for supervisor::Trust {
    fn from(bundle: &TrustBundle) -> Self {
        Self {
            trust_domain: bundle.trust_domain.to_string(),
            generation: bundle.generation,
            mesh_pem: bundle.mesh_pem(),
            cluster_server_pem: bundle.cluster_server_pem(),
            cluster_client_pem: bundle.cluster_client_pem(),
        }
    }
}

/// Every certificate in a PEM text; none is an empty list, a broken one an error.
pub fn certificates_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Invalid {
            what: "certificate PEM".to_owned(),
            reason: e.to_string(),
        })
}

/// [`certificates_from_pem`], each checked to be usable as an anchor.
pub fn anchors_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let anchors = certificates_from_pem(pem)?;
    for anchor in &anchors {
        webpki::anchor_from_trusted_cert(anchor).map_err(|e| Error::Invalid {
            what: "anchor".to_owned(),
            reason: e.to_string(),
        })?;
    }
    Ok(anchors)
}

/// Certificates as one PEM text, 64 columns, `\n` line ends: the same list always gives the same bytes.
pub fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|der| crate::key::pem("CERTIFICATE", der))
        .collect()
}
