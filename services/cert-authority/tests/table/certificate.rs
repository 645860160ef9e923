//! What a certificate says, read by another library than the one that wrote it.

use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::*;

/// A leaf, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    pub organization: String,
    pub common_name: String,
    pub sans: Vec<String>,
    pub usage: String,
    pub not_before: i64,
    pub not_after: i64,
    pub public_key: Vec<u8>,
}

/// Reads a leaf and asserts what is true of every leaf.
pub fn read(der: &CertificateDer<'_>) -> Leaf {
    let (rest, certificate) = parse_x509_certificate(der).unwrap();
    assert!(rest.is_empty());
    assert_eq!(certificate.version(), X509Version::V3);
    let serial = certificate.raw_serial();
    assert!(
        (1..=20).contains(&serial.len()) && serial[0] < 0x80,
        "serial {serial:?}"
    );
    let text = |mut names: Vec<&str>| {
        assert!(names.len() <= 1, "{names:?}");
        names.pop().unwrap_or_default().to_owned()
    };
    let subject = certificate.subject();
    assert_eq!(
        subject.iter_attributes().count(),
        subject.iter_organization().count() + subject.iter_common_name().count()
    );
    let mut leaf = Leaf {
        organization: text(
            subject
                .iter_organization()
                .map(|a| a.as_str().unwrap())
                .collect(),
        ),
        common_name: text(
            subject
                .iter_common_name()
                .map(|a| a.as_str().unwrap())
                .collect(),
        ),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
        ..Leaf::default()
    };
    for extension in certificate.extensions() {
        extension_of_leaf(&mut leaf, extension);
    }
    leaf.sans.sort();
    leaf
}

fn extension_of_leaf(leaf: &mut Leaf, extension: &X509Extension<'_>) {
    match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(constraints) => {
            assert!(!constraints.ca && constraints.path_len_constraint.is_none());
        }
        ParsedExtension::KeyUsage(usage) => assert_eq!(usage.flags, 1, "only digitalSignature"),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            assert!(
                !usage.any
                    && !usage.code_signing
                    && !usage.email_protection
                    && !usage.time_stamping
                    && !usage.ocsp_signing
                    && usage.other.is_empty()
            );
            leaf.usage = match (usage.client_auth, usage.server_auth) {
                (true, true) => "client server",
                (true, false) => "client",
                (false, true) => "server",
                (false, false) => "",
            }
            .to_owned();
        }
        ParsedExtension::SubjectAlternativeName(names) => {
            leaf.sans = names.general_names.iter().map(san).collect();
        }
        ParsedExtension::SubjectKeyIdentifier(_) | ParsedExtension::AuthorityKeyIdentifier(_) => {}
        other => panic!("an extension that no leaf has: {other:?}"),
    }
}

fn san(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => format!("IP:{}", std::net::Ipv4Addr::from(v4)),
            Err(_) => {
                let v6: [u8; 16] = (*bytes).try_into().unwrap();
                format!("IP:{}", std::net::Ipv6Addr::from(v6))
            }
        },
        other => panic!("a kind of name that no leaf has: {other:?}"),
    }
}

/// Whether webpki builds a path from `leaf` to `anchor` for `usage` at `now`.
pub fn chains(
    leaf: &CertificateDer<'_>,
    anchor: &CertificateDer<'_>,
    usage: &str,
    now: i64,
) -> bool {
    let usage = match usage {
        "client" => KeyUsage::client_auth(),
        "server" => KeyUsage::server_auth(),
        other => panic!("no usage {other}"),
    };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap()));
    let anchor = anchor_from_trusted_cert(anchor).unwrap();
    EndEntityCert::try_from(leaf)
        .unwrap()
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &[anchor],
            &[],
            time,
            usage,
            None,
            None,
        )
        .is_ok()
}
