//! Enrolment tokens: short-lived proof that the bearer reads an identity's private volume.
//!
//! A token is base64url of version, expiry (seconds since 1970, 8 bytes), nonce (16 bytes), the SPIFFE id, and
//! HMAC-SHA256 over all of these. Nothing is stored: any cert-authority with the keyring can check it.

use super::aead::KEY_LEN;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sextant_identity::{Identity, ServiceName, TrustDomain};

/// The longest token that is looked at.
pub const MAX_LEN: usize = 1024;
/// Random bytes in a token.
pub const NONCE_LEN: usize = 16;

/// Who enrols: every part of a control plane but cert-authority itself, and its administrator.
pub const ENROLLING: [Identity; 7] = [
    Identity::Service(ServiceName::TokenService),
    Identity::Service(ServiceName::DatastoreProxy),
    Identity::Service(ServiceName::Supervisor),
    Identity::Service(ServiceName::KubeApiserver),
    Identity::Service(ServiceName::KubeControllerManager),
    Identity::Service(ServiceName::KubeScheduler),
    Identity::Admin,
];

const VERSION: u8 = 1;
const MAC_LEN: usize = 32;
const FIXED_LEN: usize = 1 + 8 + NONCE_LEN;
const PURPOSE: &[u8] = b"sextant enrolment token v1\0";

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error(
        "the enrolment token has expired: read it again from its file, which cert-authority keeps fresh"
    )]
    Expired,
    /// This keyring's key didn't make it.
    #[error(
        "the enrolment token is not of this cluster's cert-authority: read it again from its file"
    )]
    Forged,
    /// It isn't a token at all.
    #[error(
        "this is not an enrolment token: give the content of the file `token` of the enrolment volume"
    )]
    Malformed,
}

/// Makes and checks tokens.
#[derive(Clone)]
pub struct EnrolmentTokens {
    key: hmac::Key,
    trust_domain: TrustDomain,
}

impl EnrolmentTokens {
    /// With the keyring's key.
    pub fn new(key: &[u8; KEY_LEN], trust_domain: TrustDomain) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            trust_domain,
        }
    }

    /// A token that enrols `identity` until `expires`.
    pub fn mint(&self, identity: &Identity, expires: i64, nonce: [u8; NONCE_LEN]) -> String {
        let mut token = vec![VERSION];
        token.extend_from_slice(&expires.to_be_bytes());
        token.extend_from_slice(&nonce);
        token.extend_from_slice(identity.to_uri(&self.trust_domain).as_bytes());
        let mac = hmac::sign(&self.key, &[PURPOSE, &token].concat());
        token.extend_from_slice(mac.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The identity that `token` enrols at `now`. The comparison takes the same time wherever it differs, and
    /// nothing of the token is believed before it.
    pub fn verify(&self, token: &str, now: i64) -> Result<Identity, TokenError> {
        let token = token.trim();
        if token.len() > MAX_LEN {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| TokenError::Malformed)?;
        let (body, mac) = bytes
            .split_last_chunk::<MAC_LEN>()
            .filter(|(body, _)| body.len() > FIXED_LEN && body[0] == VERSION)
            .ok_or(TokenError::Malformed)?;
        hmac::verify(&self.key, &[PURPOSE, body].concat(), mac).map_err(|_| TokenError::Forged)?;
        let expires = body[1..]
            .first_chunk()
            .map_or(0, |bytes| i64::from_be_bytes(*bytes));
        if now >= expires {
            return Err(TokenError::Expired);
        }
        let uri = std::str::from_utf8(&body[FIXED_LEN..]).map_err(|_| TokenError::Malformed)?;
        match Identity::from_uri(uri) {
            Ok((trust_domain, identity)) if trust_domain == self.trust_domain => Ok(identity),
            _ => Err(TokenError::Forged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(key: u8) -> EnrolmentTokens {
        EnrolmentTokens::new(&[key; KEY_LEN], "0a.sextant.internal".parse().unwrap())
    }

    #[test]
    fn enrols_its_identity_until_it_expires() {
        let identity = Identity::Service(ServiceName::TokenService);
        let token = tokens(1).mint(&identity, 1000, [7; NONCE_LEN]);
        assert_eq!(tokens(1).verify(&token, 999), Ok(identity.clone()));
        assert_eq!(tokens(1).verify(&format!("{token}\n"), 999), Ok(identity));
        assert_eq!(tokens(1).verify(&token, 1000), Err(TokenError::Expired));
        assert_eq!(tokens(2).verify(&token, 999), Err(TokenError::Forged));
    }

    #[test]
    fn every_changed_character_is_refused() {
        let token = tokens(1).mint(&Identity::Admin, 1000, [7; NONCE_LEN]);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(tokens(1).verify(&forged, 999).is_err(), "character {at}");
        }
    }

    #[test]
    fn another_identity_cannot_be_written_into_a_token() {
        let token = tokens(1).mint(&Identity::Admin, 1000, [7; NONCE_LEN]);
        let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        let mac = bytes.split_off(bytes.len() - MAC_LEN);
        bytes.truncate(FIXED_LEN);
        bytes.extend_from_slice(b"spiffe://0a.sextant.internal/service/supervisor");
        bytes.extend_from_slice(&mac);
        assert_eq!(
            tokens(1).verify(&URL_SAFE_NO_PAD.encode(bytes), 999),
            Err(TokenError::Forged)
        );
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        for text in ["", "!", "AQ", &"A".repeat(MAX_LEN + 1)] {
            assert_eq!(tokens(1).verify(text, 0), Err(TokenError::Malformed));
        }
    }
}
