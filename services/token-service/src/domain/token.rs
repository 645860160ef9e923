//! The text of a join token: `K10<sha256 of the mesh CA bundle>::<id>:<secret>`.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SecureRandom,
};
use zeroize::Zeroizing;

use super::verification::Refusal;
use crate::error::Error;

/// Characters of an id and of a secret.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Length of an id.
const ID: usize = 10;
/// Length of a new secret: 36^32 is more than 2^165.
const SECRET: usize = 32;
/// Lengths of a secret that are read.
const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 26..=128;
const PREFIX: &str = "K10";

/// SHA-256 of the mesh CA bundle as PEM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CaHash([u8; 32]);

impl CaHash {
    /// Of the bundle as the join API serves it at `/cacerts`.
    pub fn of_bundle(pem: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, pem.as_bytes()).as_ref());
        Self(hash)
    }

    fn parse(hex: &str) -> Option<Self> {
        let mut hash = [0; 32];
        // Bytes, since a slice of text could end inside of a character.
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |ascii: u8| char::from(ascii).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A join token as somebody presents it.
#[derive(Clone, Eq, PartialEq)]
pub struct JoinToken {
    /// Missing in the short form `<id>:<secret>`.
    pub ca_hash: Option<CaHash>,
    /// Public part.
    pub id: String,
    /// What only its holder knows.
    pub secret: Zeroizing<String>,
}

impl JoinToken {
    /// A new token.
    pub fn generate(ca_hash: CaHash, random: &dyn SecureRandom) -> Result<Self, Error> {
        let id = text(ID, random)?.to_string();
        Ok(Self {
            ca_hash: Some(ca_hash),
            id,
            secret: text(SECRET, random)?,
        })
    }

    /// Reads both forms; white space around is ignored, since tokens come from files.
    pub fn parse(token: &str) -> Result<Self, Refusal> {
        let token = token.trim();
        let (ca_hash, rest) = match token.strip_prefix(PREFIX).and_then(|t| t.split_once("::")) {
            None => (None, token),
            Some((hash, rest)) => {
                let hash = CaHash::parse(hash).ok_or(Refusal::Malformed(
                    "the CA hash after K10 must be 64 hex digits",
                ))?;
                (Some(hash), rest)
            }
        };
        let (id, secret) = rest.split_once(':').ok_or(Refusal::Malformed(
            "it must look like K10<CA hash>::<id>:<secret>",
        ))?;
        if !is_id(id) {
            return Err(Refusal::Malformed(
                "its id must be 10 lower-case letters and digits",
            ));
        }
        if !SECRET_LENGTHS.contains(&secret.len()) || !is_plain(secret) {
            return Err(Refusal::Malformed(
                "its secret must be 26 to 128 lower-case letters and digits",
            ));
        }
        let secret = Zeroizing::new(secret.to_owned());
        Ok(Self {
            ca_hash,
            id: id.to_owned(),
            secret,
        })
    }

    /// The text to hand out.
    pub fn expose(&self) -> Zeroizing<String> {
        let Self { id, secret, .. } = self;
        Zeroizing::new(match self.ca_hash {
            Some(hash) => format!("{PREFIX}{hash}::{id}:{}", **secret),
            None => format!("{id}:{}", **secret),
        })
    }
}

/// Without the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Whether `text` has the form of an id.
pub fn is_id(text: &str) -> bool {
    text.len() == ID && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// `length` characters, each equally likely: bytes above the last whole multiple of 36 are thrown away.
fn text(length: usize, random: &dyn SecureRandom) -> Result<Zeroizing<String>, Error> {
    let mut text = Zeroizing::new(String::with_capacity(length));
    let mut bytes = Zeroizing::new([0; 64]);
    while text.len() < length {
        random
            .fill(bytes.as_mut())
            .map_err(|_| Error::Crypto("no random bytes"))?;
        let fair = bytes.iter().filter(|byte| **byte < 252);
        let missing = length - text.len();
        text.extend(
            fair.take(missing)
                .map(|byte| char::from(ALPHABET[usize::from(byte % 36)])),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn new_tokens_differ_and_come_back() {
        let hash = CaHash::of_bundle("bundle");
        let one = JoinToken::generate(hash, &SystemRandom::new()).unwrap();
        let two = JoinToken::generate(hash, &SystemRandom::new()).unwrap();
        assert!(one.id != two.id && one.secret != two.secret);
        assert_eq!(JoinToken::parse(&one.expose()).unwrap(), one);
        assert_eq!(
            JoinToken::parse(&format!(" {}\n", *one.expose())).unwrap(),
            one
        );
    }

    #[test]
    fn the_hash_is_that_of_the_text() {
        let hash = CaHash::of_bundle("abc").to_string();
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn debugging_output_has_no_secret() {
        let token = JoinToken::generate(CaHash::of_bundle(""), &SystemRandom::new()).unwrap();
        assert!(!format!("{token:?}").contains(token.secret.as_str()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let secret = "a".repeat(32);
        for (token, part) in [
            (String::new(), "K10<CA hash>"),
            ("K10abc".to_owned(), "K10<CA hash>"),
            (format!("K10abc::0123456789:{secret}"), "64 hex digits"),
            (
                format!("K10{}::0123456789:{secret}", "g".repeat(64)),
                "64 hex digits",
            ),
            (
                format!("K10{}::0123456789:{secret}", "ä".repeat(32)),
                "64 hex digits",
            ),
            (format!("012345678:{secret}"), "its id"),
            (format!("012345678A:{secret}"), "its id"),
            ("0123456789:short".to_owned(), "its secret"),
            (format!("0123456789:{secret}!"), "its secret"),
            (format!("0123456789:{}", "a".repeat(129)), "its secret"),
        ] {
            let refusal = JoinToken::parse(&token).unwrap_err().to_string();
            assert!(refusal.contains(part), "{token}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn every_token_comes_back(
            hash in prop::option::of(any::<[u8; 32]>()),
            id in "[a-z0-9]{10}",
            secret in "[a-z0-9]{26,128}",
        ) {
            let token = JoinToken { ca_hash: hash.map(CaHash), id, secret: Zeroizing::new(secret) };
            prop_assert_eq!(JoinToken::parse(&token.expose()).unwrap(), token);
        }

        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = JoinToken::parse(&text);
        }
    }
}
