//! Keys, and certificates with their keys.

use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// An ECDSA P-256 key. Cheap to clone; never printed.
#[derive(Clone)]
pub struct KeyPair(Arc<rcgen::KeyPair>);

impl KeyPair {
    /// A new key.
    pub fn generate() -> Result<Self, Error> {
        unimplemented!()
    }
    /// From PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let _ = pem;
        unimplemented!()
    }
    /// A PKCS#10 request with an empty subject, DER. It proves possession of the key and nothing else.
    pub fn csr_der(&self) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }
    /// [`Self::csr_der`] as PEM.
    pub fn csr_pem(&self) -> Result<String, Error> {
        unimplemented!()
    }
    /// PKCS#8, PEM. Zeroized when dropped.
    pub fn private_key_pem(&self) -> zeroize::Zeroizing<String> {
        unimplemented!()
    }
    /// PKCS#8, DER.
    pub fn private_key_der(&self) -> PrivateKeyDer<'static> {
        unimplemented!()
    }
    /// SubjectPublicKeyInfo, DER.
    pub fn public_key_spki_der(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// ECDSA P-256 SHA-256 signature over `message`, ASN.1.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let _ = message;
        unimplemented!()
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
}

impl Credentials {
    /// Parses the leaf's dates and checks that `key` is the leaf's.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Self, Error> {
        let _ = (chain, key);
        unimplemented!()
    }
    /// The chain as PEM.
    pub fn chain_pem(&self) -> String {
        crate::trust::certificates_to_pem(&self.chain)
    }
}

/// One PEM block.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
