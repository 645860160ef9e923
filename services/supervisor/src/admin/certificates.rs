//! Which certificates an answer holds.

use sextant_proto::replaced;
use sextant_proto::supervisor::{CertificateInfo, ListCertificatesRequest};

/// What is wanted of all certificates, and how many more there are.
pub(super) fn chosen(
    mut certificates: Vec<CertificateInfo>,
    wanted: &ListCertificatesRequest,
) -> (Vec<CertificateInfo>, usize) {
    if wanted.current_only {
        let mut replaced = replaced(&certificates).into_iter();
        certificates.retain(|_| !replaced.next().unwrap_or(false));
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
