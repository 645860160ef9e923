//! The key-encryption key behind Kubernetes' KMS v2: it wraps kube-apiserver's data-encryption seeds.

use super::aead::{self, Secret};
use super::hex::hex;
use crate::error::Error;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// kube-apiserver refuses a ciphertext of 1 KiB or more.
pub const MAX_PLAINTEXT: usize = 1023 - aead::OVERHEAD;

/// Encrypts and decrypts with the one key-encryption key.
pub struct KeyEncryption {
    key: Secret,
    id: String,
}

impl KeyEncryption {
    /// With the keyring's key.
    pub fn new(key: Secret) -> Self {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        let id = hex(&hmac::sign(&mac, b"sextant kms key id").as_ref()[..16]);
        Self { key, id }
    }

    /// Names the key without saying anything about it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Wraps a seed.
    pub fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Error::TooLong {
                what: "the plaintext to encrypt",
                limit: MAX_PLAINTEXT,
            });
        }
        aead::seal(&self.key, self.id.as_bytes(), plaintext)
    }

    /// Unwraps a seed that was wrapped under `key_id`.
    pub fn decrypt(&self, key_id: &str, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if ciphertext.len() > MAX_PLAINTEXT + aead::OVERHEAD {
            return Err(Error::TooLong {
                what: "the ciphertext to decrypt",
                limit: MAX_PLAINTEXT + aead::OVERHEAD,
            });
        }
        if key_id != self.id {
            return Err(Error::KmsKey {
                // It comes from outside: enough of it to recognize, no more.
                asked: key_id
                    .chars()
                    .filter(|c| c.is_ascii_graphic())
                    .take(64)
                    .collect(),
                held: self.id.clone(),
            });
        }
        aead::open(&self.key, self.id.as_bytes(), ciphertext).ok_or(Error::KmsCiphertext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwraps_what_it_wrapped_within_kubernetes_limit() {
        let kms = KeyEncryption::new(Secret::new([5; 32]));
        let seed = [9; MAX_PLAINTEXT];
        let ciphertext = kms.encrypt(&seed).unwrap();
        assert!(ciphertext.len() < 1024);
        assert_eq!(kms.decrypt(kms.id(), &ciphertext).unwrap().as_slice(), seed);
        assert!(matches!(
            kms.encrypt(&[0; MAX_PLAINTEXT + 1]),
            Err(Error::TooLong { .. })
        ));
    }

    #[test]
    fn another_key_is_named_and_damage_is_noticed() {
        let kms = KeyEncryption::new(Secret::new([5; 32]));
        let other = KeyEncryption::new(Secret::new([6; 32]));
        let mut ciphertext = kms.encrypt(b"seed").unwrap();
        let error = other.decrypt(kms.id(), &ciphertext).unwrap_err();
        assert!(matches!(&error, Error::KmsKey { asked, held }
            if asked == kms.id() && held == other.id()));
        ciphertext[20] ^= 1;
        assert!(matches!(
            kms.decrypt(kms.id(), &ciphertext),
            Err(Error::KmsCiphertext)
        ));
    }
}
