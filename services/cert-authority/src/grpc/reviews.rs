//! ServiceAccount tokens, checked by the cluster that hosts us.

use crate::domain::account::Accounts;
use crate::error::Error;
use sextant_hosting::{Client, User};
use sextant_identity::Identity;
use tokio::sync::Semaphore;

/// The longest token that is passed on.
const MAX_LEN: usize = 16 * 1024;
/// Reviews at a time; who comes beyond them is told to come again.
const REVIEWS: usize = 16;
/// Under this the hosting cluster tells which pod a token was given to.
const POD: &str = "authentication.kubernetes.io/pod-name";

/// Asks the hosting cluster, a bounded number of times at once.
pub struct Reviews {
    client: Client,
    accounts: Accounts,
    slots: Semaphore,
}

impl Reviews {
    /// Of the control plane whose `accounts` these are.
    pub fn new(client: Client, accounts: Accounts) -> Self {
        Self {
            client,
            accounts,
            slots: Semaphore::new(REVIEWS),
        }
    }

    /// The identity that a ServiceAccount's token enrols.
    pub async fn identity(&self, token: &str) -> Result<Identity, Error> {
        if token.len() > MAX_LEN {
            return Err(Error::TooLong {
                what: "the ServiceAccount token",
                limit: MAX_LEN,
            });
        }
        let _slot = self.slots.try_acquire().map_err(|_| Error::ReviewsBusy)?;
        let asked = self.client.review(token, self.accounts.audience()).await;
        let review = asked.map_err(Error::Review)?;
        let identity = self.accounts.identity(&review)?;
        let User { username, extra } = review.user;
        let pod = extra.get(POD).and_then(|pods| pods.first());
        tracing::info!(%identity, account = username, pod, "the hosting cluster knows the token");
        Ok(identity)
    }
}
