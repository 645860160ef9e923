//! Which certificates are no longer the ones that their owners use.

use crate::supervisor::CertificateInfo;
use std::collections::HashMap;

/// Of each certificate whether a newer one of the same owner and purpose took its place.
pub fn replaced(certificates: &[CertificateInfo]) -> Vec<bool> {
    let mut newest: HashMap<_, i64> = HashMap::new();
    for certificate in certificates {
        let last = newest.entry(owner(certificate)).or_insert(i64::MIN);
        *last = certificate.not_after_unix.max(*last);
    }
    let replaced = |one: &CertificateInfo| {
        newest
            .get(&owner(one))
            .is_some_and(|last| one.not_after_unix < *last)
    };
    certificates.iter().map(replaced).collect()
}

/// Requester, profile and name; addresses may change from one certificate to the next.
fn owner(certificate: &CertificateInfo) -> (&str, &str, &str) {
    let identity = certificate
        .sans
        .iter()
        .find(|san| san.contains("spiffe://"));
    let name = identity.unwrap_or(&certificate.subject);
    (&certificate.requester, &certificate.profile, name)
}
