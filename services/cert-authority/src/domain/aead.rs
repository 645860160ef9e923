//! AES-256-GCM as everything here uses it: a version byte, a random nonce, the ciphertext with its tag.

use crate::error::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Length of every key here.
pub const KEY_LEN: usize = 32;
/// How much longer the sealed form is than the plaintext.
pub const OVERHEAD: usize = 1 + NONCE_LEN + 16;

const VERSION: u8 = 1;

/// A 256-bit secret that is wiped when dropped.
pub type Secret = Zeroizing<[u8; KEY_LEN]>;

/// A new random secret.
pub fn random_secret() -> Result<Secret, Error> {
    let mut secret = Secret::default();
    rand::fill(secret.as_mut()).map_err(|_| Error::Crypto("reading random bytes"))?;
    Ok(secret)
}

/// Encrypts `plaintext` and binds `context` to it.
pub fn seal(key: &[u8; KEY_LEN], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| Error::Crypto("reading random bytes"))?;
    // Room for the tag, so that the plaintext isn't left behind by a reallocation.
    let mut buffer = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
    buffer.extend_from_slice(plaintext);
    cipher(key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut buffer,
        )
        .map_err(|_| Error::Crypto("encrypting"))?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + buffer.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut buffer);
    Ok(sealed)
}

/// Decrypts what [`seal`] made with the same key and context; `None` when it didn't.
pub fn open(key: &[u8; KEY_LEN], context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
    if *version != VERSION {
        return None;
    }
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = cipher(key)
        .ok()?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(context),
            &mut buffer,
        )
        .ok()?
        .len();
    buffer.truncate(length);
    Some(buffer)
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Crypto("loading a key"))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_context() {
        let key = random_secret().unwrap();
        let sealed = seal(&key, b"context", b"plaintext").unwrap();
        assert_eq!(sealed.len(), b"plaintext".len() + OVERHEAD);
        assert_eq!(
            open(&key, b"context", &sealed).unwrap().as_slice(),
            b"plaintext"
        );
        assert!(open(&key, b"other", &sealed).is_none());
        assert!(open(&random_secret().unwrap(), b"context", &sealed).is_none());
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let key = random_secret().unwrap();
        let sealed = seal(&key, b"", b"plaintext").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&key, b"", &changed).is_none(), "byte {at}");
            assert!(open(&key, b"", &sealed[..at]).is_none(), "cut at {at}");
        }
    }
}
