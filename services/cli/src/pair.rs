//! A certificate with its key, as it is kept between runs.
use crate::Error;
use serde::{Deserialize, Serialize};
use sextant_identity::trust::certificates_from_pem;
use sextant_identity::{Credentials, KeyPair};
use std::fmt;
use time::OffsetDateTime;

/// A chain and its key, PEM, with the leaf's life in seconds since 1970.
#[derive(Clone, Deserialize, Serialize)]
pub struct Pair {
    /// Leaf first.
    pub certificate: String,
    /// PKCS#8.
    pub private_key: String,
    not_before: i64,
    not_after: i64,
}

impl Pair {
    /// Reads the leaf's life from a chain (PEM).
    ///
    /// # Errors
    /// When the chain doesn't start with the certificate of `key`.
    pub fn new(certificate: String, key: &KeyPair) -> Result<Self, Error> {
        let read = credentials(&certificate, key.clone())
            .map_err(|e| Error::credential("the cluster's certificate can't be used", e))?;
        Ok(Self {
            certificate,
            private_key: key.private_key_pem().to_string(),
            not_before: OffsetDateTime::from(read.not_before).unix_timestamp(),
            not_after: OffsetDateTime::from(read.not_after).unix_timestamp(),
        })
    }

    /// For a connection of ours.
    ///
    /// # Errors
    /// When certificate and key can't be read or don't belong together.
    pub fn credentials(&self) -> Result<Credentials, Error> {
        KeyPair::from_pem(&self.private_key)
            .and_then(|key| credentials(&self.certificate, key))
            .map_err(|e| Error::credential("the saved certificate can't be used", e))
    }

    /// Whether it can still be used for a minute.
    #[must_use]
    pub fn is_valid(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp().saturating_add(60) < self.not_after
    }

    /// Whether half of its life is over, or it begins in the future: then this clock was set back.
    #[must_use]
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        let half = self.not_after.saturating_sub(self.not_before) / 2;
        !(self.not_before..self.not_before.saturating_add(half)).contains(&now.unix_timestamp())
    }

    /// When it ends.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

fn credentials(certificate: &str, key: KeyPair) -> Result<Credentials, sextant_identity::Error> {
    Credentials::new(certificates_from_pem(certificate)?, key)
}

/// A new key of this machine.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(|error| Error::credential("can't make a key", error))
}

/// The certificate request for a key, PKCS#10 as PEM. The cluster decides everything but the key.
///
/// # Errors
/// When it can't be signed.
pub fn request(key: &KeyPair) -> Result<String, Error> {
    key.csr_pem()
        .map_err(|error| Error::credential("can't make a certificate request", error))
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    #[test]
    fn is_renewed_at_half_life() {
        let pair = Pair {
            certificate: String::new(),
            private_key: "secret".into(),
            not_before: 1_000,
            not_after: 3_000,
        };
        let due: Vec<bool> = [900, 1_000, 1_999, 2_000, 9_000]
            .map(|now| pair.is_due(at(now)))
            .into();
        assert_eq!(due, [true, false, false, true, true]);
        assert!(pair.is_valid(at(2_900)) && !pair.is_valid(at(2_950)));
        assert!(!format!("{pair:?}").contains("secret"));
    }

    #[test]
    fn refuses_what_is_no_certificate() {
        let error = Pair::new("nonsense".into(), &new_key().unwrap()).unwrap_err();
        assert!(error.to_string().contains("can't be used"), "{error}");
    }
}
