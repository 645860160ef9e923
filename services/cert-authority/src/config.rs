//! What an operator can set.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_hosting::ApiConfig;
use sextant_kit::config::{Common, HasCommon};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Configuration of cert-authority.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every part has.
    pub common: Common,
    /// Address of the gRPC listener.
    pub listen: SocketAddr,
    /// Folder of the keyring and the issuance log; hosted, see `hosting.state`.
    pub state_folder: PathBuf,
    /// Folder of the seal key. Another volume than the state, so that neither opens the keyring alone.
    pub seal_folder: PathBuf,
    /// Enrolment tokens.
    pub enrolment: Enrolment,
    /// Running in a cluster that hosts this control plane.
    pub hosting: Hosting,
    /// How long certificates live.
    pub lives: Lives,
    /// Settings of the cluster that certificates name.
    pub cluster: Cluster,
    /// Settings of nodes that certificates name.
    pub node: Node,
    /// More names of kube-apiserver.
    pub apiserver: Names,
    /// More names of datastore-proxy.
    pub datastore: Names,
}

/// Enrolment tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Enrolment {
    /// Folder with one private volume per identity.
    pub folder: PathBuf,
    /// Identities that enrol by token: names of services, or `admin`. When not set: all that a control plane has, or none
    /// if it is hosted, since ServiceAccount tokens take the place of volumes then.
    pub identities: Option<Vec<String>>,
    /// Life of a token in seconds; it is rewritten at half of it.
    pub life_seconds: i64,
    /// Enrolments that one address may try at once.
    pub attempts_burst: u32,
    /// Enrolments per minute that one address may try after these.
    pub attempts_per_minute: u32,
}

/// Running in a cluster that hosts this control plane.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hosting {
    /// Name of the control plane, before which every object of it in the hosting cluster is named: parts enrol with
    /// tokens of the ServiceAccounts `<name>-<identity>`, and find the mesh's anchors in ConfigMap `<name>-trust`. Empty
    /// when not hosted.
    pub name: String,
    /// Audience that these tokens must have; empty takes `sextant:<namespace>:<name>`.
    pub audience: String,
    /// Where the keyring is, and what else replicas must agree on: `secret` for the Secrets `<name>-keyring` and
    /// `<name>-state`, which any number of replicas share, `folder` for `state_folder` and one replica. The issuance log is
    /// in `state_folder` always, one for each replica.
    pub state: Place,
    /// Where the seal key is: `secret` for the Secret `<name>-seal`, which is made when it isn't there, `folder` for
    /// `seal_folder`.
    pub seal: Place,
    /// The API of the hosting cluster.
    pub api: ApiConfig,
}

/// Where a hosted control plane keeps something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In a folder.
    Folder,
    /// In a Secret of the hosting cluster.
    #[default]
    Secret,
}

/// How long certificates live, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lives {
    /// Life of mesh certificates in seconds; at least 60.
    pub mesh_seconds: i64,
    /// Life of all certificates without a setting of their own, in seconds; at least 900, since upstream components
    /// re-read files every five minutes.
    pub default_seconds: i64,
    /// Life of kube-apiserver's client certificate for kubelets, in seconds: long, so that exec and log streams aren't
    /// cut.
    pub apiserver_kubelet_client_seconds: i64,
    /// Life of the supervisor's `system:masters` certificate, which it uses in the first minutes of a cluster, in
    /// seconds.
    pub bootstrap_seconds: i64,
}

/// Settings of the cluster that certificates name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// DNS domain of the cluster; as the supervisor's `cluster.networks.cluster_domain`.
    pub domain: String,
    /// Networks of Service addresses, as the supervisor's `cluster.networks.service_cidr`; the first address of each is
    /// the API's.
    #[schemars(with = "Vec<String>")]
    pub service_cidrs: Vec<IpNet>,
}

/// Settings of nodes that certificates name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Address that every node offers the API on; as the supervisor's `cluster.api.node_address`.
    pub api_address: IpAddr,
}

/// More names of a server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// DNS names and IP addresses for its serving certificate, beside those that it always has.
    pub names: Vec<String>,
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::default(),
            listen: (Ipv4Addr::UNSPECIFIED, 7443).into(),
            state_folder: "/var/lib/sextant".into(),
            seal_folder: "/var/lib/sextant-seal".into(),
            enrolment: Enrolment::default(),
            hosting: Hosting::default(),
            lives: Lives::default(),
            cluster: Cluster::default(),
            node: Node::default(),
            apiserver: Names::default(),
            datastore: Names::default(),
        }
    }
}

impl Default for Enrolment {
    fn default() -> Self {
        Self {
            folder: "/enrol".into(),
            identities: None,
            life_seconds: 600,
            attempts_burst: 30,
            attempts_per_minute: 60,
        }
    }
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            mesh_seconds: 24 * 3600,
            default_seconds: 24 * 3600,
            apiserver_kubelet_client_seconds: 365 * 24 * 3600,
            bootstrap_seconds: 600,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            domain: "cluster.local".to_owned(),
            service_cidrs: vec![IpNet::V4(ipnet::Ipv4Net::new_assert(
                Ipv4Addr::new(10, 96, 0, 0),
                16,
            ))],
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            api_address: Ipv4Addr::new(192, 0, 2, 1).into(),
        }
    }
}
