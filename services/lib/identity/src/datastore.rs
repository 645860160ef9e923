//! The way to datastore-proxy for token-service and supervisor.

use crate::error::Error;
use crate::leaf::Leaf;
use crate::mesh::Mesh;
use sextant_kit::Context;
use sextant_proto::certauthority::Profile;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

impl Mesh {
    /// An etcd client to datastore-proxy (host:port). Obtains a DATASTORE_CLIENT leaf that renews itself; the
    /// connection is lazy, reconnects by itself, and uses the newest certificate at each connect. Waits (with
    /// back-off, readiness task `certificate DATASTORE_CLIENT`) for cert-authority only. Fails only when drained.
    pub async fn datastore_client(
        &self,
        address: &str,
        ctx: &Context,
    ) -> Result<etcd_client::Client, Error> {
        let leaf = Leaf::obtain(self, Profile::DatastoreClient, ctx).await?;
        self.datastore_client_with(address, &leaf).await
    }

    /// [`Self::datastore_client`] with a leaf of the caller's.
    pub async fn datastore_client_with(
        &self,
        address: &str,
        leaf: &Leaf,
    ) -> Result<etcd_client::Client, Error> {
        let channel = self
            .datastore_channel(address, leaf)
            .map_err(tower::BoxError::from);
        let channel = etcd_client::Channel::Custom(BoxCloneSyncService::new(channel));
        etcd_client::Client::from_channel(channel, None)
            .await
            .map_err(|e| Error::Peer {
                address: address.to_owned(),
                reason: e.to_string(),
            })
    }
}
