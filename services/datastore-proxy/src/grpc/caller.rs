//! Who asks.

use super::Services;
use crate::domain::authz::{Call, Caller};
use tonic::{Request, Status};

impl Services {
    /// The caller of `request`, if the table lets it call.
    pub(super) fn caller<T>(&self, request: &Request<T>, call: Call) -> Result<Caller, Status> {
        let caller = self.identify(request)?;
        caller.check(call)?;
        Ok(caller)
    }

    fn identify<T>(&self, _request: &Request<T>) -> Result<Caller, Status> {
        if self.trusts_loopback {
            return Ok(Caller::local());
        }
        Err(Status::unauthenticated("this connection brought no client certificate"))
    }
}
