//! Whom a token enrols: one of ours, or one of the hosting cluster's ServiceAccounts.

use super::reviews::Reviews;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::domain::enrolment::EnrolmentTokens;
use crate::domain::rate::Attempts;
use crate::error::Error;
use sextant_identity::{Identity, PeerInfo};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Identifies who enrols.
pub struct Enrolment {
    /// Tells of refusals.
    pub audit: Audit,
    /// Checks tokens of ours.
    pub tokens: EnrolmentTokens,
    /// Has tokens of ServiceAccounts checked, when hosted.
    pub reviews: Option<Reviews>,
    /// Limits attempts.
    pub attempts: Mutex<Attempts>,
    /// The time.
    pub clock: Clock,
}

impl Enrolment {
    /// The identity that `token` enrols. Attempts are counted before anything is looked at.
    pub async fn identify(&self, peer: Option<&PeerInfo>, token: &str) -> Result<Identity, Error> {
        let identified = match self.admit(peer) {
            Ok(()) => self.verify(token.trim()).await,
            Err(error) => Err(error),
        };
        identified.inspect_err(|error| {
            let address = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.addr.to_string());
            self.audit.refused(error, &address, "Enroll");
        })
    }

    fn admit(&self, peer: Option<&PeerInfo>) -> Result<(), Error> {
        // Without TLS there is no peer; then all share the bucket of one address.
        let address = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.addr.ip());
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts
            .take(address, Instant::now())
            .map_err(|wait| Error::TooManyAttempts { wait })
    }

    async fn verify(&self, token: &str) -> Result<Identity, Error> {
        match &self.reviews {
            // Only a JWT has dots.
            Some(reviews) if token.contains('.') => reviews.identity(token).await,
            _ => Ok(self.tokens.verify(token, self.clock.now())?),
        }
    }
}
