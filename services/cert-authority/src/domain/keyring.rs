//! Everything secret that cert-authority has, made once in a cluster's life, and its sealed form.
//!
//! The sealed form is a header (magic, format version, id of the seal key), bound as associated data, and one
//! AES-256-GCM ciphertext. Inside are entries: tag (one byte), length (four bytes, big endian), value. A tag that
//! this version doesn't know is an error: a newer version's secrets must not be dropped by an older one.

use super::aead::{self, KEY_LEN, Secret};
use super::authority::SigningAuthority;
use super::hex::hex;
use crate::error::{Error, KeyringProblem};
use aws_lc_rs::hmac;
use sextant_identity::{Authority, TrustDomain};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"SXKR";
const FORMAT: u16 = 1;
const SEAL_ID_LEN: usize = 16;
const HEADER_LEN: usize = MAGIC.len() + 2 + SEAL_ID_LEN;

const TAG_TRUST_DOMAIN: u8 = 1;
const TAG_GENERATION: u8 = 2;
const TAG_KEY_ENCRYPTION_KEY: u8 = 3;
const TAG_SEAL_MASTER: u8 = 4;
const TAG_ENROLMENT_KEY: u8 = 5;

/// The keyring, opened.
pub struct Keyring {
    /// The cluster's trust domain.
    pub trust_domain: TrustDomain,
    /// Grows with each change of the anchors.
    pub generation: u64,
    /// Wraps kube-apiserver's data-encryption seeds.
    pub key_encryption_key: Secret,
    /// Master of the keys that seal other services' secrets.
    pub seal_master: Secret,
    /// Authenticates enrolment tokens.
    pub enrolment_key: Secret,
    authorities: [SigningAuthority; 5],
}

impl Keyring {
    /// Makes a new one, with a trust domain that no other cluster has.
    pub fn generate(now: i64) -> Result<Self, Error> {
        let mut unique = [0; 5];
        aws_lc_rs::rand::fill(&mut unique).map_err(|_| Error::Crypto("reading random bytes"))?;
        let trust_domain: TrustDomain = format!("{}.sextant.internal", hex(&unique)).parse()?;
        let make = |name| SigningAuthority::generate(name, &trust_domain, now);
        let [a, b, c, d, e] = Authority::ALL;
        let authorities = [make(a)?, make(b)?, make(c)?, make(d)?, make(e)?];
        Ok(Self {
            trust_domain,
            generation: 1,
            key_encryption_key: aead::random_secret()?,
            seal_master: aead::random_secret()?,
            enrolment_key: aead::random_secret()?,
            authorities,
        })
    }

    /// The authority of that name.
    pub fn authority(&self, name: Authority) -> &SigningAuthority {
        let [client, server, datastore, mesh, request_header] = &self.authorities;
        match name {
            Authority::ClusterClient => client,
            Authority::ClusterServer => server,
            Authority::Datastore => datastore,
            Authority::Mesh => mesh,
            Authority::RequestHeader => request_header,
        }
    }

    /// The moment from which all authorities are valid.
    pub fn valid_from(&self) -> i64 {
        self.authorities
            .iter()
            .map(|authority| authority.not_before)
            .max()
            .unwrap_or_default()
    }

    /// Seals it under the seal key.
    pub fn seal(&self, seal_key: &[u8; KEY_LEN]) -> Result<Vec<u8>, Error> {
        let header = header(seal_key);
        let sealed = aead::seal(seal_key, &header, &self.encode()?)?;
        Ok([header.as_slice(), sealed.as_slice()].concat())
    }

    /// Opens what [`Self::seal`] made.
    pub fn open(seal_key: &[u8; KEY_LEN], bytes: &[u8]) -> Result<Self, Error> {
        let (header_found, sealed) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(KeyringProblem::Short)?;
        let (magic, rest) = header_found.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(KeyringProblem::NotAKeyring.into());
        }
        let format = u16::from_be_bytes([rest[0], rest[1]]);
        if format != FORMAT {
            return Err(KeyringProblem::Format {
                found: format,
                known: FORMAT,
            }
            .into());
        }
        if *header_found != header(seal_key) {
            return Err(KeyringProblem::OtherSealKey.into());
        }
        let entries = aead::open(seal_key, header_found, sealed).ok_or(KeyringProblem::Damaged)?;
        Self::decode(&entries)
    }

    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        // Far more than is ever needed, so that no reallocation leaves secrets behind.
        let mut out = Zeroizing::new(Vec::with_capacity(16 * 1024));
        put(
            &mut out,
            TAG_TRUST_DOMAIN,
            self.trust_domain.to_string().as_bytes(),
        )?;
        put(&mut out, TAG_GENERATION, &self.generation.to_be_bytes())?;
        put(
            &mut out,
            TAG_KEY_ENCRYPTION_KEY,
            self.key_encryption_key.as_ref(),
        )?;
        put(&mut out, TAG_SEAL_MASTER, self.seal_master.as_ref())?;
        put(&mut out, TAG_ENROLMENT_KEY, self.enrolment_key.as_ref())?;
        for authority in &self.authorities {
            put(&mut out, key_tag(authority.name), &authority.private_key()?)?;
            put(
                &mut out,
                certificate_tag(authority.name),
                &authority.certificate,
            )?;
        }
        Ok(out)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut entries = Entries::parse(bytes)?;
        let trust_domain = String::from_utf8_lossy(entries.take(TAG_TRUST_DOMAIN)?).into_owned();
        let generation = *entries.take_array(TAG_GENERATION)?;
        let mut load = |name| {
            let key = entries.take(key_tag(name))?;
            let certificate = entries.take(certificate_tag(name))?.to_vec();
            SigningAuthority::from_parts(name, certificate.into(), key)
        };
        let [a, b, c, d, e] = Authority::ALL;
        let authorities = [load(a)?, load(b)?, load(c)?, load(d)?, load(e)?];
        let keyring = Self {
            trust_domain: trust_domain.parse()?,
            generation: u64::from_be_bytes(generation),
            key_encryption_key: Secret::new(*entries.take_array(TAG_KEY_ENCRYPTION_KEY)?),
            seal_master: Secret::new(*entries.take_array(TAG_SEAL_MASTER)?),
            enrolment_key: Secret::new(*entries.take_array(TAG_ENROLMENT_KEY)?),
            authorities,
        };
        entries.finish()?;
        Ok(keyring)
    }
}

/// Entries by tag; each is taken once.
struct Entries<'a>(BTreeMap<u8, &'a [u8]>);

impl<'a> Entries<'a> {
    fn parse(mut bytes: &'a [u8]) -> Result<Self, KeyringProblem> {
        let mut entries = BTreeMap::new();
        while let Some((tag, rest)) = bytes.split_first() {
            let (length, rest) = rest
                .split_first_chunk::<4>()
                .ok_or(KeyringProblem::Damaged)?;
            let length = usize::try_from(u32::from_be_bytes(*length))
                .map_err(|_| KeyringProblem::Damaged)?;
            let (value, rest) = rest
                .split_at_checked(length)
                .ok_or(KeyringProblem::Damaged)?;
            if entries.insert(*tag, value).is_some() {
                return Err(KeyringProblem::Damaged);
            }
            bytes = rest;
        }
        Ok(Self(entries))
    }

    fn take(&mut self, tag: u8) -> Result<&'a [u8], KeyringProblem> {
        self.0
            .remove(&tag)
            .ok_or(KeyringProblem::MissingEntry { tag })
    }

    fn take_array<const N: usize>(&mut self, tag: u8) -> Result<&'a [u8; N], KeyringProblem> {
        self.take(tag)?
            .try_into()
            .map_err(|_| KeyringProblem::Damaged)
    }

    fn finish(self) -> Result<(), KeyringProblem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(tag) => Err(KeyringProblem::UnknownEntry { tag }),
        }
    }
}

fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(value.len()).map_err(|_| Error::Crypto("encoding the keyring"))?;
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

fn key_tag(name: Authority) -> u8 {
    match name {
        Authority::ClusterClient => 10,
        Authority::ClusterServer => 11,
        Authority::Datastore => 12,
        Authority::Mesh => 13,
        Authority::RequestHeader => 14,
    }
}

fn certificate_tag(name: Authority) -> u8 {
    key_tag(name) + 10
}

/// Magic, format and the seal key's id: a MAC, so that it says nothing about the key.
fn header(seal_key: &[u8; KEY_LEN]) -> [u8; HEADER_LEN] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seal_key);
    let id = hmac::sign(&key, b"sextant seal key id");
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(MAGIC);
    header[4..6].copy_from_slice(&FORMAT.to_be_bytes());
    header[6..].copy_from_slice(&id.as_ref()[..SEAL_ID_LEN]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    #[test]
    fn comes_back_from_its_sealed_form() {
        let keyring = Keyring::generate(NOW).unwrap();
        let seal_key = aead::random_secret().unwrap();
        let opened = Keyring::open(&seal_key, &keyring.seal(&seal_key).unwrap()).unwrap();
        assert_eq!(opened.trust_domain, keyring.trust_domain);
        assert_eq!(opened.generation, 1);
        assert_eq!(opened.key_encryption_key, keyring.key_encryption_key);
        assert_eq!(opened.seal_master, keyring.seal_master);
        assert_eq!(opened.enrolment_key, keyring.enrolment_key);
        for name in Authority::ALL {
            assert_eq!(
                opened.authority(name).certificate,
                keyring.authority(name).certificate
            );
            assert_eq!(opened.authority(name).name, name);
        }
    }

    #[test]
    fn another_seal_key_is_named_as_the_cause() {
        let sealed = Keyring::generate(NOW).unwrap().seal(&[1; KEY_LEN]).unwrap();
        let error = Keyring::open(&[2; KEY_LEN], &sealed).err().unwrap();
        assert!(
            matches!(error, Error::Keyring(KeyringProblem::OtherSealKey)),
            "{error}"
        );
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_an_error() {
        let sealed = Keyring::generate(NOW).unwrap().seal(&[1; KEY_LEN]).unwrap();
        for at in 0..sealed.len() {
            assert!(
                Keyring::open(&[1; KEY_LEN], &sealed[..at]).is_err(),
                "cut at {at}"
            );
            let mut changed = sealed.clone();
            changed[at] ^= 0x10;
            assert!(Keyring::open(&[1; KEY_LEN], &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_or_entry_is_refused() {
        let keyring = Keyring::generate(NOW).unwrap();
        let mut sealed = keyring.seal(&[1; KEY_LEN]).unwrap();
        sealed[5] = 2;
        let error = Keyring::open(&[1; KEY_LEN], &sealed).err().unwrap();
        assert!(matches!(
            error,
            Error::Keyring(KeyringProblem::Format { found: 2, known: 1 })
        ));
        let mut entries = keyring.encode().unwrap();
        put(&mut entries, 99, b"from the future").unwrap();
        let error = Keyring::decode(&entries).err().unwrap();
        assert!(matches!(
            error,
            Error::Keyring(KeyringProblem::UnknownEntry { tag: 99 })
        ));
    }

    #[test]
    fn authorities_have_distinct_subjects_and_only_sign_leaves() {
        let keyring = Keyring::generate(NOW).unwrap();
        let mut subjects = std::collections::BTreeSet::new();
        for name in Authority::ALL {
            let der = keyring.authority(name).certificate.clone();
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
            assert!(subjects.insert(parsed.subject().to_string()));
            let constraints = parsed.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(0));
            assert_eq!(parsed.key_usage().unwrap().unwrap().value.flags, 1 << 5);
            assert_eq!(
                parsed.validity().not_after.timestamp(),
                NOW + 10 * 365 * 24 * 3600
            );
        }
    }
}
