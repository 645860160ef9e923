//! Which certificates an answer holds.

use sextant_proto::supervisor::{CertificateInfo, ListCertificatesRequest};
use std::collections::HashMap;

/// Certificates of one owner and purpose replace each other; addresses may change from one to the next.
fn owner(certificate: &CertificateInfo) -> (&str, &str, &str) {
    let identity = certificate
        .sans
        .iter()
        .find(|san| san.contains("spiffe://"));
    let name = identity.unwrap_or(&certificate.subject);
    (&certificate.requester, &certificate.profile, name)
}

/// What is wanted of all certificates, and how many more there are.
pub(super) fn chosen(
    mut certificates: Vec<CertificateInfo>,
    wanted: &ListCertificatesRequest,
) -> (Vec<CertificateInfo>, usize) {
    if wanted.current_only {
        let mut newest: HashMap<_, i64> = HashMap::new();
        for certificate in &certificates {
            let last = newest.entry(owner(certificate)).or_insert(i64::MIN);
            *last = certificate.not_after_unix.max(*last);
        }
        let current: Vec<bool> = certificates
            .iter()
            .map(|one| {
                newest
                    .get(&owner(one))
                    .is_none_or(|last| one.not_after_unix >= *last)
            })
            .collect();
        let mut current = current.into_iter();
        certificates.retain(|_| current.next().unwrap_or(true));
    }
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return (certificates, 0);
    }
    certificates.sort_by(|a, b| (a.not_after_unix, &a.serial).cmp(&(b.not_after_unix, &b.serial)));
    let left_out = certificates.len().saturating_sub(limit);
    certificates.truncate(limit);
    (certificates, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(serial: &str, profile: &str, not_after_unix: i64) -> CertificateInfo {
        CertificateInfo {
            requester: "spiffe://td/service/supervisor".into(),
            profile: profile.into(),
            sans: vec!["spiffe://td/service/supervisor".into(), serial.into()],
            serial: serial.into(),
            not_after_unix,
            ..CertificateInfo::default()
        }
    }

    fn serials(limit: u32, current_only: bool) -> (Vec<String>, usize) {
        let all = vec![
            certificate("late", "CLIENT", 300),
            certificate("old", "MESH", 100),
            certificate("new", "MESH", 200),
        ];
        let wanted = ListCertificatesRequest {
            limit,
            current_only,
        };
        let (chosen, left_out) = chosen(all, &wanted);
        (chosen.into_iter().map(|one| one.serial).collect(), left_out)
    }

    #[test]
    fn the_next_to_expire_come_first_and_replaced_ones_not_at_all() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(serials(0, false), (names(&["late", "old", "new"]), 0));
        assert_eq!(serials(0, true), (names(&["late", "new"]), 0));
        assert_eq!(serials(2, false), (names(&["old", "new"]), 1));
        assert_eq!(serials(1, true), (names(&["new"]), 1));
    }
}
