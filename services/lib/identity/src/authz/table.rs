//! The table itself.

use super::{Role, Rule};
use crate::identity::ServiceName as Name;

const APISERVER: &[Role] = &[Role::Service(Name::KubeApiserver)];
const DATASTORE: &[Role] = &[Role::Service(Name::DatastoreProxy)];
const SUPERVISOR: &[Role] = &[Role::Service(Name::Supervisor)];
const COMPONENTS: &[Role] = &[
    Role::Service(Name::KubeApiserver),
    Role::Service(Name::KubeControllerManager),
    Role::Service(Name::KubeScheduler),
];
const SEALERS: &[Role] = &[
    Role::Service(Name::Supervisor),
    Role::Service(Name::TokenService),
];
const EGRESS: &[Role] = &[
    Role::Service(Name::KubeApiserver),
    Role::Service(Name::Supervisor),
];
/// Served on Unix sockets of a node only.
const LOCAL: &[Role] = &[];

macro_rules! rules {
    ($($service:literal: { $($method:ident => $allowed:expr),+ $(,)? })+) => {
        &[$($(Rule { path: concat!("/", $service, "/", stringify!($method)), allowed: $allowed }),+),+]
    };
}

/// Every RPC that Sextant's parts serve to each other, and who may call it.
pub static TABLE: &[Rule] = rules! {
    "sextant.certauthority.v1.CertAuthority": {
        // The enrolment token is the proof.
        Enroll => &[Role::Anyone],
        Renew => &[Role::Services],
        // Which profiles, is cert-authority's own table.
        Sign => &[Role::Services],
        WatchTrust => &[Role::Services],
        CompleteBootstrap => SUPERVISOR,
        ListIssued => SUPERVISOR,
    }
    "sextant.certauthority.v1.Seal": { Seal => SEALERS, Unseal => SEALERS }
    "v2.KeyManagementService": { Status => APISERVER, Encrypt => APISERVER, Decrypt => APISERVER }
    "v1.ExternalJWTSigner": { Sign => APISERVER, FetchKeys => APISERVER, Metadata => APISERVER }
    "sextant.tokenservice.v1.JoinTokens": {
        Create => SUPERVISOR,
        List => SUPERVISOR,
        Revoke => SUPERVISOR,
        Verify => SUPERVISOR,
    }
    "sextant.datastore.v1.Replica": {
        Submit => DATASTORE,
        Revision => DATASTORE,
        Follow => DATASTORE,
    }
    "sextant.supervisor.v1.Components": { Watch => COMPONENTS, RestartPermit => COMPONENTS }
    "sextant.supervisor.v1.Egress": { Connect => EGRESS }
    "sextant.supervisor.v1.NodeSession": {
        Session => &[Role::Node],
        Tunnel => &[Role::Node],
        Renew => &[Role::Node],
    }
    "sextant.supervisor.v1.Admin": {
        Status => &[Role::Admin],
        CreateToken => &[Role::Admin],
        ListTokens => &[Role::Admin],
        RevokeToken => &[Role::Admin],
        ListNodes => &[Role::Admin],
        RemoveNode => &[Role::Admin],
        KubeAccess => &[Role::Admin],
        IssueKubeCredential => &[Role::Admin],
        RenewAdmin => &[Role::Admin],
        ListCertificates => &[Role::Admin],
        Overview => &[Role::Admin],
        ChangeTelemetry => &[Role::Admin],
    }
    "sextant.supervisor.v1.NodeRelay": { ChangeTelemetry => SUPERVISOR }
    "sextant.telemetry.v1.Telemetry": { Change => SUPERVISOR }
    "sextant.node.v1.Node": { Status => LOCAL, Drain => LOCAL, ImportImages => LOCAL }
    "sextant.netpol.v1.NetworkPolicy": { EnsurePod => LOCAL, Explain => LOCAL }
};
