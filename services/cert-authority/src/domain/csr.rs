//! Certificate signing requests. Of a request only its public key counts, once its signature proved that the asker
//! has the private one; names, extensions and attributes are never looked at.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256,
};
use x509_parser::prelude::FromDer;

/// The longest request that is read.
pub const MAX_LEN: usize = 8 * 1024;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// It isn't PKCS#10 in DER.
    #[error("the request is not a PKCS#10 certificate request in DER form")]
    Malformed,
    /// It is signed or keyed with something else than P-256.
    #[error("the request's key or signature is not ECDSA P-256 with SHA-256: make a P-256 key")]
    NotP256,
    /// The signature isn't the key's.
    #[error("the request's signature was not made with the private key of its public key")]
    Signature,
    /// It is longer than any honest request.
    #[error("the request is longer than {MAX_LEN} bytes")]
    TooLong,
}

/// A P-256 public key whose private key the asker has proved to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey {
    point: Vec<u8>,
}

impl PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl ProvenKey {
    /// Checks a PKCS#10 request (DER) and takes its public key.
    pub fn from_csr(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_LEN {
            return Err(CsrError::TooLong);
        }
        let (rest, csr) =
            X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let key = &csr.certification_request_info.subject_pki;
        let curve = key
            .algorithm
            .parameters
            .as_ref()
            .and_then(|p| p.as_oid().ok());
        if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY
            || curve != Some(OID_EC_P256)
            || csr.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256
        {
            return Err(CsrError::NotP256);
        }
        let point = key.subject_public_key.data.as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(
                csr.certification_request_info.raw,
                csr.signature_value.data.as_ref(),
            )
            .map_err(|_| CsrError::Signature)?;
        // Go and OpenSSL write the point uncompressed; nothing else may end up in a certificate.
        if point.first() != Some(&4) {
            return Err(CsrError::NotP256);
        }
        Ok(Self {
            point: point.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn csr(key: &KeyPair) -> Vec<u8> {
        CertificateParams::default()
            .serialize_request(key)
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn takes_the_public_key_of_an_honest_request() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(
            ProvenKey::from_csr(&csr(&key)).unwrap().der_bytes(),
            key.public_key_raw()
        );
    }

    #[test]
    fn refuses_other_algorithms_by_name() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            assert_eq!(ProvenKey::from_csr(&csr(&key)), Err(CsrError::NotP256));
        }
    }

    #[test]
    fn no_changed_byte_gives_another_key() {
        let key = KeyPair::generate().unwrap();
        let honest = csr(&key);
        for at in 0..honest.len() {
            for bit in 0..8 {
                let mut forged = honest.clone();
                forged[at] ^= 1 << bit;
                // Outside of what is signed, some readings of DER are lax; the key is inside.
                if let Ok(proven) = ProvenKey::from_csr(&forged) {
                    assert_eq!(proven.der_bytes(), key.public_key_raw(), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn refuses_a_stolen_public_key() {
        let mine = csr(&KeyPair::generate().unwrap());
        let victim = KeyPair::generate().unwrap();
        let point = KeyPair::generate().unwrap();
        let theirs = csr(&point);
        // A request about the victim's key, signed by another: splice the key's bytes.
        let own = ProvenKey::from_csr(&mine).unwrap();
        let at = mine.windows(65).position(|w| w == own.der_bytes()).unwrap();
        let mut forged = mine.clone();
        forged[at..at + 65].copy_from_slice(victim.public_key_raw());
        assert_eq!(ProvenKey::from_csr(&forged), Err(CsrError::Signature));
        assert!(ProvenKey::from_csr(&theirs).is_ok());
    }

    #[test]
    fn refuses_trailing_bytes_and_long_ones() {
        let mut long = csr(&KeyPair::generate().unwrap());
        long.push(0);
        assert_eq!(ProvenKey::from_csr(&long), Err(CsrError::Malformed));
        long.resize(MAX_LEN + 1, 0);
        assert_eq!(ProvenKey::from_csr(&long), Err(CsrError::TooLong));
        assert_eq!(ProvenKey::from_csr(&[]), Err(CsrError::Malformed));
    }
}
