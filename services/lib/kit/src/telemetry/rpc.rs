//! What every RPC is measured by, on both sides.
use prometheus_client::registry::Registry;
pub(crate) fn register(registry: &mut Registry) {
    let _ = registry;
}
