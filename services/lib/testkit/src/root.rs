//! A cluster's five authorities in memory.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType,
};
use sextant_identity::{
    Authority, CertificateDer, Credentials, Identity, KeyPair, Leaf, Mesh, TrustBundle, TrustDomain,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

const DAY: Duration = Duration::from_secs(24 * 3600);
const SKEW: Duration = Duration::from_secs(60);

/// Five authorities that sign whatever a test wants. Cheap to clone.
#[derive(Clone)]
pub struct Root {
    trust_domain: TrustDomain,
    authorities: Arc<BTreeMap<Authority, Signer>>,
}

struct Signer {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

/// A leaf that a test wants. Everything but the authority has a sensible default.
#[derive(Clone, Debug)]
pub struct Wish {
    authority: Authority,
    trust_domain: TrustDomain,
    uris: Vec<String>,
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
    common_name: String,
    organizations: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Root {
    /// New authorities, trust domain `test.sextant.internal`.
    pub fn new() -> Self {
        Self::in_domain("test.sextant.internal")
    }

    /// New authorities of a named trust domain.
    pub fn in_domain(trust_domain: &str) -> Self {
        let authorities = Authority::ALL.map(|authority| (authority, Signer::new(authority)));
        Self {
            trust_domain: trust_domain.parse().expect("a trust domain"),
            authorities: Arc::new(authorities.into_iter().collect()),
        }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The anchors.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        let anchors = |authority| vec![self.authorities[&authority].certificate.clone()];
        Arc::new(TrustBundle {
            trust_domain: self.trust_domain.clone(),
            generation: 1,
            mesh: anchors(Authority::Mesh),
            cluster_server: anchors(Authority::ClusterServer),
            cluster_client: anchors(Authority::ClusterClient),
            request_header: anchors(Authority::RequestHeader),
            datastore: anchors(Authority::Datastore),
        })
    }

    /// A mesh for `identity` with a fresh certificate of 24 h.
    pub fn mesh(&self, identity: impl Into<Identity>) -> Mesh {
        self.rotating_mesh(identity).0
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
        let identity = identity.into();
        let credentials = self.sign(self.wish(Authority::Mesh).identity(&identity));
        let (credentials_sender, credentials) = watch::channel(Arc::new(credentials));
        let (trust_sender, trust) = watch::channel(self.bundle());
        (
            Mesh::from_parts(identity, credentials, trust),
            credentials_sender,
            trust_sender,
        )
    }

    /// A leaf of the datastore authority with `identity`'s URI SAN, for servers and clients.
    pub fn datastore_leaf(&self, identity: impl Into<Identity>) -> Leaf {
        let wish = self
            .wish(Authority::Datastore)
            .identity(&identity.into())
            .dns("localhost");
        Leaf::from_parts(watch::channel(Arc::new(self.sign(wish))).1)
    }

    /// A wish for a leaf of `authority`: no names yet, valid from a minute ago for 24 h.
    pub fn wish(&self, authority: Authority) -> Wish {
        let now = SystemTime::now();
        Wish {
            authority,
            trust_domain: self.trust_domain.clone(),
            uris: Vec::new(),
            dns: Vec::new(),
            addresses: Vec::new(),
            common_name: String::new(),
            organizations: Vec::new(),
            not_before: now - SKEW,
            not_after: now + DAY,
        }
    }

    /// Grants a wish with a new key.
    pub fn sign(&self, wish: Wish) -> Credentials {
        let key = KeyPair::generate().expect("a key");
        let public = rcgen::SubjectPublicKeyInfo::from_der(&key.public_key_spki_der())
            .expect("a public key");
        Credentials::new(vec![self.sign_key(wish, &public)], key).expect("credentials")
    }

    /// Grants a wish for somebody else's key.
    pub fn sign_key(
        &self,
        wish: Wish,
        key: &rcgen::SubjectPublicKeyInfo,
    ) -> CertificateDer<'static> {
        let issuer = &self.authorities[&wish.authority].issuer;
        wish.params()
            .signed_by(key, issuer)
            .expect("a certificate")
            .der()
            .clone()
    }

    /// Certificate and key of one authority, for tests that run an issuer of their own.
    pub fn authority(&self, authority: Authority) -> (CertificateDer<'static>, KeyPair) {
        let signer = &self.authorities[&authority];
        (signer.certificate.clone(), signer.key.clone())
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}

impl Signer {
    fn new(authority: Authority) -> Self {
        let key = KeyPair::generate().expect("a key");
        let pair = rcgen::KeyPair::from_pem(&key.private_key_pem()).expect("the same key");
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("test {authority:?}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params
            .self_signed(&pair)
            .expect("an authority")
            .der()
            .clone();
        Self {
            certificate,
            key,
            issuer: Issuer::new(params, pair),
        }
    }
}

impl Wish {
    /// With the SPIFFE id of `identity`.
    #[must_use]
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.uris.push(identity.to_uri(&self.trust_domain));
        self
    }

    /// With any URI.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// With a DNS name.
    #[must_use]
    pub fn dns(mut self, name: &str) -> Self {
        self.dns.push(name.to_owned());
        self
    }

    /// With an IP address.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// With a subject as Kubernetes reads it: user and groups.
    #[must_use]
    pub fn subject(mut self, user: &str, groups: &[&str]) -> Self {
        self.common_name = user.to_owned();
        self.organizations = groups.iter().map(|group| (*group).to_owned()).collect();
        self
    }

    /// Valid in this time only.
    #[must_use]
    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    fn params(self) -> CertificateParams {
        let text = |text: String| text.try_into().expect("plain ASCII");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if !self.common_name.is_empty() {
            params
                .distinguished_name
                .push(DnType::CommonName, self.common_name);
        }
        for organization in self.organizations {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        let uris = self.uris.into_iter().map(|uri| SanType::URI(text(uri)));
        let dns = self
            .dns
            .into_iter()
            .map(|name| SanType::DnsName(text(name)));
        let addresses = self.addresses.into_iter().map(SanType::IpAddress);
        params.subject_alt_names = uris.chain(dns).chain(addresses).collect();
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params
    }
}
