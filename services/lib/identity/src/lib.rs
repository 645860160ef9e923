//! Mutual TLS that renews itself, peer identity, and the authorization table.

pub mod authz;
mod channel;
mod datastore;
mod enroll;
mod error;
mod identity;
mod key;
mod leaf;
mod mesh;
pub mod peer;
pub mod pin;
mod renew;
mod serve;
mod tls;
pub mod trust;
mod window;

pub use channel::{Channel, Peer};
pub use enroll::EnrollConfig;
pub use error::Error;
pub use identity::{Identity, NodeName, ServiceName, TrustDomain};
pub use key::{Credentials, KeyPair};
pub use leaf::{Leaf, LeafRequest};
pub use mesh::Mesh;
pub use peer::{Leaving, PeerIdentity, PeerInfo};
pub use renew::{Clock, renewal, renewed};
pub use rustls_pki_types::CertificateDer;
pub use serve::{ClientAuth, Limits, ServerTls, serve_grpc, serve_grpc_with, serve_http};
pub use trust::{Authority, TrustBundle};
