//! Which node calls.

use sextant_identity::{NodeName, peer};
use tonic::Status;

/// The calling node.
///
/// # Errors
/// `PERMISSION_DENIED` for anybody else.
pub fn node_name(extensions: &http::Extensions) -> Result<NodeName, Status> {
    match peer::identity(extensions).and_then(|identity| identity.node()) {
        Some(name) => Ok(name.clone()),
        None => Err(Status::permission_denied(
            "only a node may call this, with its mesh certificate",
        )),
    }
}
