//! Sealing other services' small secrets: each caller has its own key, and each purpose is bound to the ciphertext.

use super::aead::{self, KEY_LEN, Secret};
use crate::error::Error;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use sextant_identity::{Identity, TrustDomain};
use zeroize::Zeroizing;

/// The longest secret that is sealed.
pub const MAX_PLAINTEXT: usize = 16 * 1024;
/// The longest purpose.
pub const MAX_PURPOSE: usize = 128;

/// Seals under keys derived from the keyring's master.
pub struct Sealer {
    master: Secret,
    trust_domain: TrustDomain,
}

impl Sealer {
    /// With the keyring's master.
    pub fn new(master: Secret, trust_domain: TrustDomain) -> Self {
        Self {
            master,
            trust_domain,
        }
    }

    /// Seals `plaintext` for `caller` and `purpose`.
    pub fn seal(
        &self,
        caller: &Identity,
        purpose: &str,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Error::TooLong {
                what: "the plaintext to seal",
                limit: MAX_PLAINTEXT,
            });
        }
        let (key, context) = self.key(caller, purpose)?;
        aead::seal(&key, &context, plaintext)
    }

    /// Opens what the same caller sealed for the same purpose.
    pub fn unseal(
        &self,
        caller: &Identity,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        if sealed.len() > MAX_PLAINTEXT + aead::OVERHEAD {
            return Err(Error::TooLong {
                what: "the sealed secret",
                limit: MAX_PLAINTEXT + aead::OVERHEAD,
            });
        }
        let (key, context) = self.key(caller, purpose)?;
        aead::open(&key, &context, sealed).ok_or_else(|| Error::NotSealedHere {
            caller: caller.to_string(),
            purpose: purpose.to_owned(),
        })
    }

    fn key(&self, caller: &Identity, purpose: &str) -> Result<(Secret, Vec<u8>), Error> {
        if purpose.is_empty() {
            return Err(Error::PurposeMissing);
        }
        if purpose.len() > MAX_PURPOSE {
            return Err(Error::TooLong {
                what: "the purpose",
                limit: MAX_PURPOSE,
            });
        }
        let caller = caller.to_uri(&self.trust_domain);
        let mut key = Secret::default();
        Salt::new(HKDF_SHA256, b"sextant seal v1")
            .extract(self.master.as_ref())
            .expand(&[caller.as_bytes()], KeyLength)
            .and_then(|output| output.fill(key.as_mut()))
            .map_err(|_| Error::Crypto("deriving a seal key"))?;
        // A SPIFFE id has no zero byte, so the two can't run into each other.
        Ok((key, [caller.as_bytes(), b"\0", purpose.as_bytes()].concat()))
    }
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_identity::ServiceName;

    fn sealer() -> Sealer {
        Sealer::new(
            Secret::new([3; KEY_LEN]),
            "0a.sextant.internal".parse().unwrap(),
        )
    }

    #[test]
    fn only_the_caller_that_sealed_can_open_and_only_for_its_purpose() {
        let token_service = Identity::Service(ServiceName::TokenService);
        let supervisor = Identity::Service(ServiceName::Supervisor);
        let sealed = sealer().seal(&token_service, "sa-key", b"secret").unwrap();
        let opened = sealer().unseal(&token_service, "sa-key", &sealed).unwrap();
        assert_eq!(opened.as_slice(), b"secret");
        for (caller, purpose) in [(&supervisor, "sa-key"), (&token_service, "join-hmac")] {
            let error = sealer().unseal(caller, purpose, &sealed).unwrap_err();
            assert!(matches!(error, Error::NotSealedHere { .. }), "{error}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let caller = Identity::Service(ServiceName::TokenService);
        let long = vec![0; MAX_PLAINTEXT + 1];
        assert!(matches!(
            sealer().seal(&caller, "p", &long),
            Err(Error::TooLong { .. })
        ));
        assert!(sealer().seal(&caller, "p", &long[1..]).is_ok());
        assert!(matches!(
            sealer().seal(&caller, "", b""),
            Err(Error::PurposeMissing)
        ));
        let purpose = "p".repeat(MAX_PURPOSE + 1);
        assert!(matches!(
            sealer().seal(&caller, &purpose, b""),
            Err(Error::TooLong { .. })
        ));
    }
}
