//! Issuing, whole: decide, sign, record, answer.

use crate::clock::Clock;
use crate::domain::authority::random_serial;
use crate::domain::csr::ProvenKey;
use crate::domain::keyring::Keyring;
use crate::domain::policy::Policy;
use crate::domain::profile::Request;
use crate::domain::signing::{Signed, sign};
use crate::domain::template::{Template, template};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::issued::{Certificate, IssuedLog};
use std::sync::Arc;

/// Issues certificates. Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    keyring: Arc<Keyring>,
    policy: Arc<Policy>,
    log: IssuedLog,
    clock: Clock,
    metrics: Metrics,
}

impl Issuer {
    /// From its parts.
    pub fn new(
        keyring: Arc<Keyring>,
        policy: Policy,
        log: IssuedLog,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self {
            keyring,
            policy: Arc::new(policy),
            log,
            clock,
            metrics,
        }
    }

    /// What was issued.
    pub fn log(&self) -> &IssuedLog {
        &self.log
    }

    /// The certificate that the table has for `request`, for the key of `csr`. It is in the log, durably, before
    /// this answers; without the entry there is no certificate.
    #[tracing::instrument(skip_all, fields(profile = request.profile.as_str()))]
    pub async fn issue(&self, request: &Request, csr: &[u8]) -> Result<Signed, Error> {
        let requester = request.requester.to_uri(&self.policy.trust_domain);
        match self.try_issue(request, csr, &requester).await {
            Ok((template, signed)) => {
                self.metrics.issued(request.profile);
                tracing::info!(
                    requester,
                    profile = request.profile.as_str(),
                    subject = subject_text(&template),
                    serial = signed.serial,
                    fingerprint = signed.fingerprint,
                    not_after = signed.not_after,
                    "issued"
                );
                Ok(signed)
            }
            Err(error) => {
                self.refused(&error, &requester, request.profile.as_str());
                Err(error)
            }
        }
    }

    /// Counts and logs what was refused before it came to [`Self::issue`].
    pub fn refused(&self, error: &Error, requester: &str, asked: &str) {
        self.metrics.refused(error);
        tracing::warn!(requester, asked, reason = error.code(), %error, "refused");
    }

    async fn try_issue(
        &self,
        request: &Request,
        csr: &[u8],
        requester: &str,
    ) -> Result<(Template, Signed), Error> {
        let now = self.clock.now();
        let template = template(&self.policy, request, now)?;
        let key = ProvenKey::from_csr(csr)?;
        let authority = self.keyring.authority(template.authority);
        let signed = sign(authority, &template, &key, random_serial()?, now)?;
        let entry = Certificate {
            issued: now,
            requester: requester.to_owned(),
            profile: request.profile.as_str().to_owned(),
            serial: signed.serial.clone(),
            subject: subject_text(&template),
            sans: template.sans.iter().map(ToString::to_string).collect(),
            not_before: signed.not_before,
            not_after: signed.not_after,
            fingerprint: signed.fingerprint.clone(),
        };
        self.log.append(entry).await?;
        Ok((template, signed))
    }
}

fn subject_text(template: &Template) -> String {
    match template.organization {
        None => format!("CN={}", template.common_name),
        Some(organization) => format!("O={organization}, CN={}", template.common_name),
    }
}
