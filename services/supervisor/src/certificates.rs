//! Certificates of nodes and administrators: requests come from them, cert-authority signs.

use crate::domain::cluster::ClusterConfig;
use crate::domain::membership::{check_addresses, check_node_name};
use crate::error::{Error, within};
use crate::refusal::{Refusal, RefusalCode};
use crate::store::Datastore;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use sextant_identity::{Credentials, KeyPair, Mesh, NodeName, trust::certificates_to_pem};
use sextant_proto::certauthority::{NodeSubject, Profile, SignRequest, SignResponse};
use sextant_proto::supervisor::{NodeCertificateRequests, NodeCertificates};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

const DEADLINE: Duration = Duration::from_secs(10);

/// Requests of a node, parsed.
#[derive(Clone, Debug)]
pub struct NodeRequests {
    mesh: Bytes,
    kubelet_client: Bytes,
    kubelet_serving: Bytes,
    kube_proxy: Bytes,
    addresses: Vec<String>,
    /// SHA-256 of the mesh key, hexadecimal.
    pub key: String,
}

impl NodeRequests {
    /// Parses and checks everything but the right to have it.
    ///
    /// # Errors
    /// `csr_invalid` or `address_refused`.
    pub fn parse(
        requests: &NodeCertificateRequests,
        cluster: &ClusterConfig,
    ) -> Result<Self, Refusal> {
        let addresses = check_addresses(&requests.addresses, cluster)?;
        let mesh = csr("mesh", &requests.mesh)?;
        Ok(Self {
            key: csr_key(&mesh)?,
            mesh,
            kubelet_client: csr("kubelet_client", &requests.kubelet_client)?,
            kubelet_serving: csr("kubelet_serving", &requests.kubelet_serving)?,
            kube_proxy: csr("kube_proxy", &requests.kube_proxy)?,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        })
    }
}

/// Parses a node's name.
///
/// # Errors
/// `name_refused`.
pub fn parse_node_name(name: &str, cluster: &ClusterConfig) -> Result<NodeName, Refusal> {
    let refused = |message: String| Refusal::new(RefusalCode::NameRefused, message);
    check_node_name(name, cluster).map_err(refused)?;
    name.parse()
        .map_err(|error: sextant_identity::Error| refused(error.to_string()))
}

/// DER of a PEM certificate request.
///
/// # Errors
/// `csr_invalid`.
pub fn csr(which: &str, pem: &str) -> Result<Bytes, Refusal> {
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map(|der| Bytes::copy_from_slice(&der))
        .map_err(|error| {
            Refusal::new(
                RefusalCode::CsrInvalid,
                format!("the certificate request `{which}` is not PKCS#10 in PEM: {error:?}"),
            )
        })
}

fn csr_key(der: &[u8]) -> Result<String, Refusal> {
    let (_, request) = X509CertificationRequest::from_der(der).map_err(|error| {
        Refusal::new(
            RefusalCode::CsrInvalid,
            format!("the certificate request `mesh` is not PKCS#10: {error}"),
        )
    })?;
    Ok(key_hash(request.certification_request_info.subject_pki.raw))
}

/// SHA-256 of a public key (SubjectPublicKeyInfo DER), hexadecimal.
pub fn key_hash(spki: &[u8]) -> String {
    digest(&SHA256, spki)
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Has certificates made. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Issuer {
    mesh: Mesh,
    store: Datastore,
    cluster: Arc<ClusterConfig>,
}

impl Issuer {
    /// Over cert-authority and the registry.
    pub fn new(mesh: Mesh, store: Datastore, cluster: Arc<ClusterConfig>) -> Self {
        Self {
            mesh,
            store,
            cluster,
        }
    }

    /// The four certificates of a node that may have them.
    ///
    /// # Errors
    /// cert-authority's own, or a deadline.
    pub async fn issue(
        &self,
        node: &NodeName,
        requests: &NodeRequests,
    ) -> Result<NodeCertificates, Error> {
        let sign = |profile, csr: &Bytes, addresses: &[String]| {
            let subject = NodeSubject {
                name: node.to_string(),
                addresses: addresses.to_vec(),
            };
            self.sign(SignRequest {
                profile: Profile::into(profile),
                csr: csr.clone(),
                node: Some(subject),
                ..SignRequest::default()
            })
        };
        let (mesh, kubelet_client, kubelet_serving, kube_proxy) = futures::try_join!(
            sign(Profile::Mesh, &requests.mesh, &[]),
            sign(Profile::KubeletClient, &requests.kubelet_client, &[]),
            sign(
                Profile::KubeletServing,
                &requests.kubelet_serving,
                &requests.addresses
            ),
            sign(Profile::KubeProxyClient, &requests.kube_proxy, &[]),
        )?;
        Ok(NodeCertificates {
            mesh: chain_pem(&mesh),
            kubelet_client: chain_pem(&kubelet_client),
            kubelet_serving: chain_pem(&kubelet_serving),
            kube_proxy: chain_pem(&kube_proxy),
        })
    }

    /// New certificates for a node that called with a valid one; its newest key is noted for coming back.
    ///
    /// # Errors
    /// A refusal, or what a part that is needed said.
    pub async fn renew(
        &self,
        node: &NodeName,
        requests: &NodeCertificateRequests,
    ) -> Result<NodeCertificates, Refusal> {
        let requests = NodeRequests::parse(requests, &self.cluster)?;
        let now = crate::clock::now();
        let noted = self.store.update_node(node.as_str(), |record| {
            record.certify(&requests.key, now);
            true
        });
        if let Err(error) = noted.await {
            // A new key that isn't registered couldn't come back after a long absence; the node asks again.
            return Err(error.into());
        }
        Ok(self.issue(node, &requests).await?)
    }

    /// One certificate.
    ///
    /// # Errors
    /// cert-authority's own, or a deadline.
    pub async fn sign(&self, request: SignRequest) -> Result<SignResponse, Error> {
        let what = format!(
            "cert-authority: signing {}",
            request.profile().as_str_name()
        );
        let mut client = self.mesh.cert_authority();
        within(&what, DEADLINE, async {
            client
                .sign(request)
                .await
                .map_err(|status| Error::peer(&what, status))
        })
        .await
        .map(tonic::Response::into_inner)
    }

    /// A key made here and its certificate, by a profile that leaves nothing to say but the key.
    ///
    /// # Errors
    /// As [`Self::sign`], or an answer that doesn't fit the key.
    pub async fn credentials(&self, profile: Profile) -> Result<Credentials, Error> {
        let key = KeyPair::generate()?;
        let request = SignRequest {
            profile: profile.into(),
            csr: Bytes::from(key.csr_der()?),
            ..SignRequest::default()
        };
        let answer = self.sign(request).await?;
        let chain = answer.chain.iter();
        let chain = chain.map(|der| CertificateDer::from(der.to_vec()));
        Ok(Credentials::new(chain.collect(), key)?)
    }
}

/// The chain of an answer as PEM.
pub fn chain_pem(response: &SignResponse) -> String {
    der_chain_pem(&response.chain)
}

/// A chain of DER certificates as PEM.
pub fn der_chain_pem(chain: &[Bytes]) -> String {
    let chain: Vec<_> = chain
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    certificates_to_pem(&chain)
}
