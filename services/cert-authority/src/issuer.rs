//! Issuing, whole: decide, sign, record, answer.

use crate::audit::Audit;
use crate::clock::Clock;
use crate::domain::authority::random_serial;
use crate::domain::csr::ProvenKey;
use crate::domain::keyring::Keyring;
use crate::domain::policy::Policy;
use crate::domain::profile::Request;
use crate::domain::signing::{Signed, sign};
use crate::domain::template::{Template, template};
use crate::error::Error;
use crate::store::issued::{Certificate, IssuedLog};
use std::sync::Arc;

/// Issues certificates. Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    keyring: Arc<Keyring>,
    policy: Arc<Policy>,
    log: IssuedLog,
    clock: Clock,
    audit: Audit,
}

impl Issuer {
    /// From its parts.
    pub fn new(
        keyring: Arc<Keyring>,
        policy: Policy,
        log: IssuedLog,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        Self {
            keyring,
            policy: Arc::new(policy),
            log,
            clock,
            audit,
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
        let requester = request.requester.to_uri(&self.keyring.trust_domain);
        let issued = self.try_issue(request, csr, requester.clone()).await;
        issued.inspect_err(|error| {
            self.audit
                .refused(error, &requester, request.profile.as_str());
        })
    }

    async fn try_issue(
        &self,
        request: &Request,
        csr: &[u8],
        requester: String,
    ) -> Result<Signed, Error> {
        let now = self.clock.now();
        let trust_domain = &self.keyring.trust_domain;
        let template = template(&self.policy, trust_domain, request, now)?;
        let key = ProvenKey::from_csr(csr)?;
        let authority = self.keyring.authority(template.authority);
        let signed = sign(authority, &template, &key, random_serial()?, now)?;
        let certificate = Certificate {
            issued: now,
            requester,
            profile: request.profile.as_str().to_owned(),
            serial: signed.serial.clone(),
            subject: subject_text(&template),
            sans: template.sans.iter().map(ToString::to_string).collect(),
            not_before: signed.not_before,
            not_after: signed.not_after,
            fingerprint: signed.fingerprint.clone(),
        };
        self.log.append(certificate.clone()).await?;
        self.audit.issued(request.profile, &certificate);
        Ok(signed)
    }
}

fn subject_text(template: &Template) -> String {
    match template.organization {
        None => format!("CN={}", template.common_name),
        Some(organization) => format!("O={organization}, CN={}", template.common_name),
    }
}
