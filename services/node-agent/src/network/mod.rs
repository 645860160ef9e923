//! The node's network: addresses, the API's dummy interface, the overlay, masquerading.

mod address;
mod netlink;
mod nft;
mod policy;
mod reconcile;
mod table;
mod vxlan;

pub use address::{follow as follow_addresses, own as own_address};
pub use netlink::Netlink;
pub use reconcile::{API_INTERFACE, Network, VXLAN_INTERFACE};
pub use vxlan::VxlanDevice;
