//! `sextant certificate check`
use crate::output::{Table, Timestamp, View};
use serde::Serialize;
use sextant_proto::replaced;
use sextant_proto::supervisor::{CertificateInfo, ListCertificatesResponse};
use time::OffsetDateTime;

/// Valid certificates, the next to expire first.
#[derive(Clone, Debug, Serialize)]
pub struct CertificatesView {
    certificates: Vec<CertificateView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateView {
    profile: String,
    requester: String,
    subject: String,
    sans: Vec<String>,
    serial: String,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    state: State,
}

/// What a certificate's age says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// More than a third of its life is left.
    Fine,
    /// Nothing renews this kind by itself: its owner asks for another when it needs one.
    OnDemand,
    /// Less than a third is left, although it is renewed at half of its life.
    Overdue,
    /// A newer one of the same owner took its place.
    Replaced,
    /// What it was for is switched off.
    Unused,
}

impl State {
    /// Whether somebody holds it.
    fn is_current(self) -> bool {
        !matches!(self, Self::Replaced | Self::Unused)
    }
}

impl CertificatesView {
    /// Judges each certificate; those that nobody holds any more are kept only with `all`.
    #[must_use]
    pub fn new(response: ListCertificatesResponse, all: bool, now: OffsetDateTime) -> Self {
        let replaced = replaced(&response.certificates);
        let mut certificates: Vec<CertificateView> = response
            .certificates
            .into_iter()
            .zip(replaced)
            .map(|(certificate, replaced)| CertificateView::new(certificate, replaced, now))
            .filter(|certificate| all || certificate.state.is_current())
            .collect();
        certificates.sort_by(|a, b| {
            (a.not_after, &a.profile, &a.subject, &a.serial).cmp(&(
                b.not_after,
                &b.profile,
                &b.subject,
                &b.serial,
            ))
        });
        Self { certificates }
    }

    /// How many should have been renewed by now.
    #[must_use]
    pub fn overdue(&self) -> usize {
        self.certificates
            .iter()
            .filter(|c| c.state == State::Overdue)
            .count()
    }

    /// When the first one ends of those that are renewed by themselves.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let kept = self.certificates.iter();
        kept.filter(|c| c.state != State::OnDemand)
            .find_map(|c| c.not_after)
    }

    /// What each column of the table says of each, and whether it is overdue.
    pub(crate) fn cells(&self, now: OffsetDateTime) -> impl Iterator<Item = ([String; 5], bool)> {
        self.certificates
            .iter()
            .map(move |c| (c.cells(now), c.state == State::Overdue))
    }
}

impl CertificateView {
    fn new(certificate: CertificateInfo, replaced: bool, now: OffsetDateTime) -> Self {
        let profile = certificate
            .profile
            .trim_start_matches("PROFILE_")
            .to_lowercase();
        let profile = profile.replace('_', "-");
        let life = certificate
            .not_after_unix
            .saturating_sub(certificate.not_before_unix);
        let left = certificate
            .not_after_unix
            .saturating_sub(now.unix_timestamp());
        let state = if certificate.unused {
            State::Unused
        } else if replaced {
            State::Replaced
        } else if on_demand(&profile, &certificate.sans) {
            State::OnDemand
        } else if left.saturating_mul(3) < life {
            State::Overdue
        } else {
            State::Fine
        };
        Self {
            profile,
            requester: certificate.requester,
            subject: certificate.subject,
            sans: certificate.sans,
            serial: certificate.serial,
            not_before: Timestamp::from_unix(certificate.not_before_unix),
            not_after: Timestamp::from_unix(certificate.not_after_unix),
            state,
        }
    }

    fn cells(&self, now: OffsetDateTime) -> [String; 5] {
        [
            self.profile.clone(),
            short(&self.requester).to_owned(),
            self.name(),
            self.not_after
                .map(|end| end.relative(now))
                .unwrap_or_default(),
            match self.state {
                State::Fine => "fine",
                State::OnDemand => "on demand",
                State::Overdue => "OVERDUE",
                State::Replaced => "replaced",
                State::Unused => "unused",
            }
            .to_owned(),
        ]
    }

    /// The subject, or for mesh certificates, which have none, the identity.
    fn name(&self) -> String {
        if self.subject.is_empty() {
            self.sans.join(",")
        } else {
            self.subject.clone()
        }
    }
}

fn on_demand(profile: &str, sans: &[String]) -> bool {
    let administrator = |san: &String| san.contains("spiffe://") && san.ends_with("/admin");
    matches!(profile, "admin-client" | "supervisor-bootstrap") || sans.iter().any(administrator)
}

/// `spiffe://<trust domain>/service/x` without the trust domain, which is the same for all.
fn short(requester: &str) -> &str {
    let path = requester
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'));
    path.map_or(requester, |(_, path)| path)
}

impl View for CertificatesView {
    fn table(&self, now: OffsetDateTime) -> String {
        let mut table = Table::new(&["PROFILE", "REQUESTER", "SUBJECT", "EXPIRES", "STATE"]);
        for certificate in &self.certificates {
            table.row(certificate.cells(now));
        }
        table.render()
    }
}
