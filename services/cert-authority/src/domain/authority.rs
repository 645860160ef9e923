//! The five certificate authorities. Each is its own anchor; nothing joins them.

use crate::error::Error;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::CertificateDer;
use sextant_identity::{Authority, TrustDomain};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Life of an authority's own certificate.
pub const LIFE_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// An authority is valid from a little before it was made, for machines whose clock is behind.
pub const BACKDATE_SECONDS: i64 = 3600;

/// Stable name of an authority, also in its subject.
pub fn label(authority: Authority) -> &'static str {
    match authority {
        Authority::ClusterClient => "cluster-client",
        Authority::ClusterServer => "cluster-server",
        Authority::Datastore => "datastore",
        Authority::Mesh => "mesh",
        Authority::RequestHeader => "request-header",
    }
}

/// A P-256 signing key. The private part is only in the memory of aws-lc, which wipes it.
pub struct AuthorityKey(EcdsaKeyPair);

impl AuthorityKey {
    fn generate() -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| Error::Crypto("making a P-256 key"))?;
        Ok(Self(pair))
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .0
            .sign(&SystemRandom::new(), message)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// A certificate authority: its certificate and the key that signs.
pub struct SigningAuthority {
    /// Which one.
    pub name: Authority,
    /// Its self-signed certificate.
    pub certificate: CertificateDer<'static>,
    /// Start of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
    pub(crate) issuer: Issuer<'static, AuthorityKey>,
}

impl SigningAuthority {
    /// Makes a new one: P-256, 10 years, signs certificates of leaves and nothing else.
    pub fn generate(name: Authority, trust_domain: &TrustDomain, now: i64) -> Result<Self, Error> {
        let key = AuthorityKey::generate()?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, trust_domain.to_string());
        subject.push(DnType::CommonName, format!("sextant {}", label(name)));
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = time_of(now - BACKDATE_SECONDS)?;
        params.not_after = time_of(now + LIFE_SECONDS)?;
        params.serial_number = Some(SerialNumber::from(random_serial()?.to_vec()));
        let certificate = params.self_signed(&key).map_err(Error::Signing)?;
        Self::load(name, certificate.der().clone(), key)
    }

    /// Puts together what [`Self::private_key`] and the certificate held; refuses a pair that isn't one.
    pub fn from_parts(
        name: Authority,
        certificate: CertificateDer<'static>,
        pkcs8: &[u8],
    ) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .map_err(|_| Error::Crypto("loading an authority's private key"))?;
        Self::load(name, certificate, AuthorityKey(pair))
    }

    /// The private key as PKCS#8, to be sealed.
    pub fn private_key(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let document = self
            .issuer
            .key()
            .0
            .to_pkcs8v1()
            .map_err(|_| Error::Crypto("exporting an authority's private key"))?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn load(
        name: Authority,
        certificate: CertificateDer<'static>,
        key: AuthorityKey,
    ) -> Result<Self, Error> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| Error::Crypto("parsing an authority's certificate"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(Error::Crypto(
                "matching an authority's certificate with its key",
            ));
        }
        let not_before = parsed.validity().not_before.timestamp();
        let not_after = parsed.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(Error::Signing)?;
        Ok(Self {
            name,
            certificate,
            not_before,
            not_after,
            issuer,
        })
    }
}

/// 127 random bits that DER writes in 16 bytes: positive, never zero.
pub(crate) fn random_serial() -> Result<[u8; 16], Error> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| Error::Crypto("reading random bytes"))?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial)
}

pub(crate) fn time_of(unix: i64) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(unix).map_err(|_| Error::Crypto("writing a date"))
}
