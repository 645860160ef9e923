//! The gRPC contracts between the parts of Sextant, and the upstream APIs that they answer, as Rust types.
//!
//! Everything here is generated at build time from the `.proto` files beside this crate, where every message and
//! field is documented.
#![allow(missing_docs, unreachable_pub, clippy::all)]

pub mod join;
mod replaced;

pub use replaced::replaced;

/// `sextant.certauthority.v1`
pub mod certauthority {
    tonic::include_proto!("sextant.certauthority.v1");
}

/// `sextant.tokenservice.v1`
pub mod tokenservice {
    tonic::include_proto!("sextant.tokenservice.v1");
}

/// Nested as their packages are, because the generated code of one names the other.
mod sextant {
    pub mod supervisor {
        pub mod v1 {
            tonic::include_proto!("sextant.supervisor.v1");
        }
    }
    pub mod telemetry {
        pub mod v1 {
            tonic::include_proto!("sextant.telemetry.v1");
        }
    }
}

/// `sextant.supervisor.v1`
pub use sextant::supervisor::v1 as supervisor;
/// `sextant.telemetry.v1`
pub use sextant::telemetry::v1 as telemetry;

/// `sextant.node.v1`
pub mod node {
    tonic::include_proto!("sextant.node.v1");
}

/// `sextant.netpol.v1`
pub mod netpol {
    tonic::include_proto!("sextant.netpol.v1");
}

/// Kubernetes' KMS v2 plugin API.
pub mod kms {
    tonic::include_proto!("v2");
}

/// Kubernetes' external ServiceAccount token signer v1.
pub mod externaljwt {
    tonic::include_proto!("v1");
}

/// The etcd v3 API, as of etcd 3.7. The modules are siblings because the generated code of one names the other.
pub mod etcd {
    /// `mvccpb`: keys and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// `etcdserverpb`: requests, responses and services.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// Here, because the generated code names etcd's messages from where its package says that it is.
    pub mod sextant {
        pub mod datastore {
            pub mod v1 {
                tonic::include_proto!("sextant.datastore.v1");
            }
        }
    }
    /// `v3electionpb`: elections.
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
    /// `v3lockpb`: locks.
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
}

/// `sextant.datastore.v1`
pub use etcd::sextant::datastore::v1 as datastore;
