//! The way to datastore-proxy for token-service and supervisor.

use crate::error::Error;
use crate::mesh::Mesh;
use sextant_kit::Context;

impl Mesh {
    /// An etcd client to datastore-proxy (host:port). Obtains a DATASTORE_CLIENT leaf that renews itself; the
    /// connection is lazy, reconnects by itself, and uses the newest certificate at each connect. Waits (with
    /// back-off, readiness task `datastore-client`) for cert-authority only. Fails only when drained.
    pub async fn datastore_client(
        &self,
        address: &str,
        ctx: &Context,
    ) -> Result<etcd_client::Client, Error> {
        let _ = (address, ctx);
        unimplemented!()
    }
}
