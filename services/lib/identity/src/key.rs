//! Keys, and certificates with their keys.

use crate::error::Error;
use crate::trust;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData, SigningKey};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// An ECDSA P-256 key. Cheap to clone; never printed.
#[derive(Clone)]
pub struct KeyPair(Arc<rcgen::KeyPair>);

impl KeyPair {
    /// A new key.
    pub fn generate() -> Result<Self, Error> {
        let key =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(key_error)?;
        Ok(Self(Arc::new(key)))
    }

    /// From PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let key = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(key_error)?;
        Ok(Self(Arc::new(key)))
    }

    /// A PKCS#10 request with an empty subject, DER. It proves possession of the key and nothing else.
    pub fn csr_der(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params
            .serialize_request(self.0.as_ref())
            .map_err(key_error)?;
        Ok(csr.der().to_vec())
    }

    /// [`Self::csr_der`] as PEM.
    pub fn csr_pem(&self) -> Result<String, Error> {
        Ok(pem("CERTIFICATE REQUEST", &self.csr_der()?))
    }

    /// PKCS#8, PEM. Zeroized when dropped.
    pub fn private_key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", self.0.serialized_der()))
    }

    /// PKCS#8, DER.
    pub fn private_key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialized_der().to_vec()).into()
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn public_key_spki_der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// ECDSA P-256 SHA-256 signature over `message`, ASN.1.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map_err(key_error)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(P-256)")
    }
}

/// A certificate chain and the key of its leaf.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Leaf first, then issuers.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: KeyPair,
    /// Start of the leaf's life.
    pub not_before: SystemTime,
    /// End of the leaf's life.
    pub not_after: SystemTime,
    certified: Arc<CertifiedKey>,
}

impl Credentials {
    /// Parses the leaf's dates and checks that `key` is the leaf's.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Self, Error> {
        let invalid = |reason: String| Error::Invalid {
            what: "certificate chain".into(),
            reason,
        };
        let leaf = chain.first().ok_or_else(|| invalid("it is empty".into()))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| invalid(e.to_string()))?;
        let not_before = system_time(parsed.validity().not_before.timestamp());
        let not_after = system_time(parsed.validity().not_after.timestamp());
        let certified = CertifiedKey::new(chain.clone(), any_ecdsa_type(&key.private_key_der())?);
        certified.keys_match()?;
        Ok(Self {
            chain,
            key,
            not_before,
            not_after,
            certified: Arc::new(certified),
        })
    }

    /// From a PEM chain and the key that was certified.
    pub fn from_pem(chain: &str, key: KeyPair) -> Result<Self, Error> {
        Self::new(trust::certificates_from_pem(chain)?, key)
    }

    /// The chain as PEM.
    pub fn chain_pem(&self) -> String {
        trust::certificates_to_pem(&self.chain)
    }

    /// Chain and key as rustls wants them.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// One PEM block.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    pem.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.extend([line, "\n"]);
        rest = tail;
    }
    pem.extend(["-----END ", label, "-----\n"]);
    pem
}

fn system_time(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix.max(0).unsigned_abs())
}

fn key_error(error: rcgen::Error) -> Error {
    Error::Key(error.to_string())
}
