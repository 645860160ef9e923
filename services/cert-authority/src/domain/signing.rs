//! From a template and a proven key to a certificate.

use super::authority::{SigningAuthority, label, time_of};
use super::csr::ProvenKey;
use super::hex::hex;
use super::san::San;
use super::template::{Template, Usage};
use crate::error::Error;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

/// A signed certificate, with what the log says of it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of the DER, hexadecimal.
    pub fingerprint: String,
    /// Start of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970; never after its authority's.
    pub not_after: i64,
}

/// Signs `template` for `key` with `authority`.
pub fn sign(
    authority: &SigningAuthority,
    template: &Template,
    key: &ProvenKey,
    serial: [u8; 16],
    now: i64,
) -> Result<Signed, Error> {
    if now < authority.not_before {
        return Err(Error::ClockBehind {
            now,
            valid_from: authority.not_before,
        });
    }
    if now >= authority.not_after {
        return Err(Error::AuthorityExpired {
            authority: label(authority.name),
            not_after: authority.not_after,
        });
    }
    let not_before = template.not_before.max(authority.not_before);
    let not_after = template.not_after.min(authority.not_after);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    params.distinguished_name = subject(template);
    params.subject_alt_names = template
        .sans
        .iter()
        .map(san)
        .collect::<Result<_, _>>()
        .map_err(Error::Signing)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages(template.usage);
    params.use_authority_key_identifier_extension = true;
    params.not_before = time_of(not_before)?;
    params.not_after = time_of(not_after)?;
    let certificate = params
        .signed_by(key, &authority.issuer)
        .map_err(Error::Signing)?;
    Ok(Signed {
        fingerprint: hex(digest(&SHA256, certificate.der()).as_ref()),
        der: certificate.der().clone(),
        serial: hex(&serial),
        not_before,
        not_after,
    })
}

fn subject(template: &Template) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = template.organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, template.common_name.as_str());
    subject
}

fn san(san: &San) -> Result<SanType, rcgen::Error> {
    Ok(match san {
        San::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        San::Ip(address) => SanType::IpAddress(*address),
        San::Uri(uri) => SanType::URI(uri.as_str().try_into()?),
    })
}

fn usages(usage: Usage) -> Vec<ExtendedKeyUsagePurpose> {
    match usage {
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::ClientAndServer => {
            vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ]
        }
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
    }
}
