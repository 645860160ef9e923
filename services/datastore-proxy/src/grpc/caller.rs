//! Who asks.

use super::Services;
use crate::domain::authz::{Call, Caller};
use sextant_identity::peer;
use tonic::{Request, Status};

impl Services {
    /// The caller of `request`, if the table lets it call.
    pub(super) fn caller<T>(&self, request: &Request<T>, call: Call) -> Result<Caller, Status> {
        of(request, self.trusts_loopback, call)
    }
}

/// The caller of `request`, if the table lets it call. Without TLS that is the local user.
pub(crate) fn of<T>(
    request: &Request<T>,
    trusts_loopback: bool,
    call: Call,
) -> Result<Caller, Status> {
    let caller = identify(request, trusts_loopback)?;
    caller.check(call)?;
    Ok(caller)
}

fn identify<T>(request: &Request<T>, trusts_loopback: bool) -> Result<Caller, Status> {
    if trusts_loopback {
        return Ok(Caller::local());
    }
    // Of a connection whose TLS comes from files.
    if let Some(caller) = request.extensions().get::<Caller>() {
        return Ok(caller.clone());
    }
    match peer::identity(request.extensions()) {
        Some(identity) => Ok(Caller::identified(identity)),
        None => Err(Status::unauthenticated(
            "this connection showed no client certificate of the datastore authority",
        )),
    }
}
