//! The rows of the issuing table and what a request for one says.

use super::denied::{DenialReason, Denied};
use sextant_identity::{Identity, NodeName};
use sextant_proto::certauthority::{Profile as Wire, SignRequest};
use std::net::IpAddr;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// An administrator as a client of kube-apiserver.
    AdminClient,
    /// kube-apiserver as a client of kubelets.
    ApiserverKubeletClient,
    /// kube-apiserver's serving certificate.
    ApiserverServing,
    /// The metrics port of kube-controller-manager or kube-scheduler.
    ComponentServing,
    /// kube-controller-manager as a client of kube-apiserver.
    ControllerManagerClient,
    /// A client of datastore-proxy.
    DatastoreClient,
    /// datastore-proxy's etcd endpoint.
    DatastoreServer,
    /// kube-proxy as a client, on one node.
    KubeProxyClient,
    /// kubelet as a client.
    KubeletClient,
    /// kubelet's serving certificate.
    KubeletServing,
    /// A part of ours among the others.
    Mesh,
    /// metrics-server, as the aggregation layer knows it.
    MetricsServerServing,
    /// A runner that probes its component.
    ProbeClient,
    /// The aggregation layer's proxy client.
    RequestHeaderClient,
    /// kube-scheduler as a client of kube-apiserver.
    SchedulerClient,
    /// The supervisor as cluster administrator, in the first minutes of a cluster.
    SupervisorBootstrap,
    /// The supervisor as a client of kube-apiserver.
    SupervisorClient,
}

impl Profile {
    /// All rows.
    pub const ALL: [Self; 17] = [
        Self::AdminClient,
        Self::ApiserverKubeletClient,
        Self::ApiserverServing,
        Self::ComponentServing,
        Self::ControllerManagerClient,
        Self::DatastoreClient,
        Self::DatastoreServer,
        Self::KubeProxyClient,
        Self::KubeletClient,
        Self::KubeletServing,
        Self::Mesh,
        Self::MetricsServerServing,
        Self::ProbeClient,
        Self::RequestHeaderClient,
        Self::SchedulerClient,
        Self::SupervisorBootstrap,
        Self::SupervisorClient,
    ];

    /// Its number in the contract.
    pub fn wire(self) -> Wire {
        match self {
            Self::AdminClient => Wire::AdminClient,
            Self::ApiserverKubeletClient => Wire::ApiserverKubeletClient,
            Self::ApiserverServing => Wire::ApiserverServing,
            Self::ComponentServing => Wire::ComponentServing,
            Self::ControllerManagerClient => Wire::ControllerManagerClient,
            Self::DatastoreClient => Wire::DatastoreClient,
            Self::DatastoreServer => Wire::DatastoreServer,
            Self::KubeProxyClient => Wire::KubeProxyClient,
            Self::KubeletClient => Wire::KubeletClient,
            Self::KubeletServing => Wire::KubeletServing,
            Self::Mesh => Wire::Mesh,
            Self::MetricsServerServing => Wire::MetricsServerServing,
            Self::ProbeClient => Wire::ProbeClient,
            Self::RequestHeaderClient => Wire::RequestHeaderClient,
            Self::SchedulerClient => Wire::SchedulerClient,
            Self::SupervisorBootstrap => Wire::SupervisorBootstrap,
            Self::SupervisorClient => Wire::SupervisorClient,
        }
    }

    /// The row of a number in the contract; `None` for 0 and for numbers of a newer version.
    pub fn from_wire(number: i32) -> Option<Self> {
        let wire = Wire::try_from(number).ok()?;
        Self::ALL.into_iter().find(|profile| profile.wire() == wire)
    }

    /// The row of that name in the contract.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == name)
    }

    /// Its name in the contract.
    pub fn as_str(self) -> &'static str {
        self.wire().as_str_name()
    }
}

/// For whom a certificate is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The administrator, whom the supervisor serves.
    Admin,
    /// A node, which the supervisor serves.
    Node {
        /// Its Kubernetes name.
        name: NodeName,
        /// The addresses it wishes in its serving certificate.
        addresses: Vec<IpAddr>,
    },
    /// The asker itself.
    Own,
}

/// A parsed request: who asks for which profile, for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks, as its certificate or enrolment token says.
    pub requester: Identity,
    /// The row.
    pub profile: Profile,
    /// Whose certificate it will be.
    pub subject: Subject,
    /// Wished life in seconds.
    pub ttl: Option<i64>,
    /// Whether the first minutes of the cluster are still on.
    pub bootstrap_open: bool,
}

impl Request {
    /// The mesh certificate of `requester` itself.
    pub fn own_mesh(requester: Identity) -> Self {
        Self {
            requester,
            profile: Profile::Mesh,
            subject: Subject::Own,
            ttl: None,
            bootstrap_open: false,
        }
    }

    /// Parses what came over the wire; whether the bootstrap is on is for the caller to say.
    pub fn parse(requester: Identity, request: &SignRequest) -> Result<Self, Denied> {
        let profile = Profile::from_wire(request.profile).ok_or_else(|| {
            Denied::new(
                DenialReason::Profile,
                format!(
                    "profile number {} is not in the issuing table",
                    request.profile
                ),
            )
        })?;
        let ttl = match request.ttl_seconds {
            0 => None,
            seconds if seconds > 0 => Some(seconds),
            seconds => {
                return Err(Denied::new(
                    DenialReason::Ttl,
                    format!(
                        "a life of {seconds} s was asked for: ask for 0 (the profile's) or more"
                    ),
                ));
            }
        };
        Ok(Self {
            requester,
            profile,
            subject: subject(request)?,
            ttl,
            bootstrap_open: false,
        })
    }
}

fn subject(request: &SignRequest) -> Result<Subject, Denied> {
    match (&request.node, request.admin) {
        (None, false) => Ok(Subject::Own),
        (None, true) => Ok(Subject::Admin),
        (Some(_), true) => Err(Denied::new(
            DenialReason::Subject,
            "the request is for a node and for the administrator: ask for one of them".to_owned(),
        )),
        (Some(node), false) => {
            let name = node.name.parse().map_err(|error| {
                Denied::new(DenialReason::NodeName, format!("node name: {error}"))
            })?;
            let addresses = node
                .addresses
                .iter()
                .map(|text| address(text))
                .collect::<Result<_, _>>()?;
            Ok(Subject::Node { name, addresses })
        }
    }
}

fn address(text: &str) -> Result<IpAddr, Denied> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        Denied::new(
            DenialReason::NodeAddress,
            format!(
                "{shown:?} is not an IP address: give addresses like 192.0.2.10 or 2001:db8::10"
            ),
        )
    })
}
