//! Which certificates an answer holds.

use crate::domain::cluster::Addons;
use sextant_proto::certauthority::{IssuedCertificate, Profile};
use sextant_proto::replaced;
use sextant_proto::supervisor::{CertificateInfo, ListCertificatesRequest};

/// A certificate as administrators see it.
pub(super) fn info(issued: IssuedCertificate, addons: &Addons) -> CertificateInfo {
    let unused = match issued.profile() {
        Profile::MetricsServerServing => !addons.metrics_server,
        _ => false,
    };
    CertificateInfo {
        profile: issued.profile().as_str_name().to_owned(),
        requester: issued.requester,
        subject: issued.subject,
        sans: issued.sans,
        serial: issued.serial,
        not_before_unix: issued.not_before_unix,
        not_after_unix: issued.not_after_unix,
        unused,
    }
}

/// What is wanted of all certificates, and how many more there are.
pub(super) fn chosen(
    mut certificates: Vec<CertificateInfo>,
    wanted: &ListCertificatesRequest,
) -> (Vec<CertificateInfo>, usize) {
    if wanted.current_only {
        let mut replaced = replaced(&certificates).into_iter();
        certificates.retain(|one| !replaced.next().unwrap_or(false) && !one.unused);
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
    fn the_certificate_of_an_add_on_is_unused_without_it() {
        let unused = |profile: Profile, metrics_server| {
            let issued = IssuedCertificate {
                profile: profile.into(),
                ..IssuedCertificate::default()
            };
            let addons = Addons {
                metrics_server,
                ..Addons::default()
            };
            info(issued, &addons).unused
        };
        assert!(unused(Profile::MetricsServerServing, false));
        assert!(!unused(Profile::MetricsServerServing, true));
        assert!(!unused(Profile::KubeletServing, false));
    }

    #[test]
    fn what_nobody_uses_any_more_is_not_current() {
        let unused = CertificateInfo {
            unused: true,
            ..certificate("unused", "SERVING", 100)
        };
        for (current_only, count) in [(true, 1), (false, 2)] {
            let all = vec![unused.clone(), certificate("used", "MESH", 200)];
            let wanted = ListCertificatesRequest {
                limit: 0,
                current_only,
            };
            assert_eq!(chosen(all, &wanted).0.len(), count);
        }
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
