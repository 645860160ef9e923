//! The keys that this service works with.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    domain::record::TokenKey,
    error::Error,
    store::{Kv, Seal, Secrets},
};

/// Names of the sealed secrets, which are also the purposes they are sealed for.
const TOKEN_KEY: &str = "join-token-hmac";
const SIGNING_KEY: &str = "service-account-signing";

/// Everything secret that this service holds.
#[derive(Debug)]
pub struct Keys {
    /// Hashes the secrets of join tokens.
    pub tokens: TokenKey,
    /// Signs ServiceAccount tokens.
    pub signing: SigningKey,
}

impl Keys {
    /// Reads the keys, or makes them on a cluster's first start.
    pub async fn load<K: Kv, S: Seal>(secrets: &Secrets<K, S>, now: i64) -> Result<Self, Error> {
        let tokens = secrets.get_or_create(TOKEN_KEY, random_key).await?;
        let signing = secrets
            .get_or_create(SIGNING_KEY, || SigningKey::make(now))
            .await?;
        Ok(Self {
            tokens: TokenKey::new(&tokens),
            signing: SigningKey::read(&signing)?,
        })
    }
}

fn random_key() -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut key = Zeroizing::new(vec![0; TokenKey::LENGTH]);
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| Error::Crypto("no random bytes"))?;
    Ok(key)
}

/// A P-256 key for ES256.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    /// `kid` of the JOSE header: base64url of the SHA-256 of the public key.
    pub id: String,
    /// SubjectPublicKeyInfo, DER.
    pub public: Vec<u8>,
    /// Unix time.
    pub created: i64,
    header: String,
}

/// A signing key as it is sealed.
#[derive(Deserialize, Serialize)]
struct SealedKey {
    created: i64,
    /// PKCS#8 DER, base64url.
    pkcs8: String,
}

impl Drop for SealedKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

impl SigningKey {
    /// A new key, ready to be sealed.
    pub fn make(now: i64) -> Result<Zeroizing<Vec<u8>>, Error> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| Error::Crypto("no new P-256 key"))?;
        let key = SealedKey {
            created: now,
            pkcs8: URL_SAFE_NO_PAD.encode(document.as_ref()),
        };
        let text = serde_json::to_vec(&key).map_err(|_| Error::Crypto("no text of a key"))?;
        Ok(Zeroizing::new(text))
    }

    /// What [`Self::make`] made.
    pub fn read(text: &[u8]) -> Result<Self, Error> {
        let damaged = |reason: &str| Error::Stored {
            key: SIGNING_KEY.to_owned(),
            reason: reason.to_owned(),
        };
        let sealed: SealedKey =
            serde_json::from_slice(text).map_err(|_| damaged("it holds no key"))?;
        let pkcs8 = URL_SAFE_NO_PAD.decode(&sealed.pkcs8).map(Zeroizing::new);
        let pkcs8 = pkcs8.map_err(|_| damaged("its key isn't base64"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| damaged("its key is no P-256 key"))?;
        let public = pair.public_key().as_der();
        let public = public.map_err(|_| damaged("its public key can't be written"))?;
        let public = public.as_ref().to_vec();
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, &public));
        let header = format!(r#"{{"alg":"ES256","kid":"{id}","typ":"JWT"}}"#);
        let header = URL_SAFE_NO_PAD.encode(header);
        Ok(Self {
            pair,
            id,
            public,
            created: sealed.created,
            header,
        })
    }

    /// Header and signature of a JWT with these claims, all base64url.
    pub fn sign(&self, claims: &str) -> Result<(String, String), Error> {
        let message = format!("{}.{claims}", self.header);
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.map_err(|_| Error::Crypto("no signature"))?;
        Ok((self.header.clone(), URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Without the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_key_signs_after_it_was_kept() {
        let text = SigningKey::make(7).unwrap();
        let key = SigningKey::read(&text).unwrap();
        assert_eq!(key.created, 7);
        assert_eq!(key.id, SigningKey::read(&text).unwrap().id);

        let (header, signature) = key.sign("e30").unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&header).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"alg": "ES256", "kid": key.id, "typ": "JWT"})
        );
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(signature.len(), 64);
        // The point is at the end of a P-256 SubjectPublicKeyInfo.
        let point = &key.public[key.public.len() - 65..];
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        public
            .verify(format!("{header}.e30").as_bytes(), &signature)
            .unwrap();
        public
            .verify(format!("{header}.e31").as_bytes(), &signature)
            .unwrap_err();
    }

    #[test]
    fn damage_is_noticed_and_shows_nothing() {
        for text in [
            "",
            "{}",
            r#"{"created":1,"pkcs8":"!"}"#,
            r#"{"created":1,"pkcs8":"AAAA"}"#,
        ] {
            let error = SigningKey::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("service-account-signing"), "{error}");
        }
        let key = SigningKey::read(&SigningKey::make(7).unwrap()).unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey {{ id: {:?}, .. }}", key.id)
        );
    }
}
