//! The upstream components and what each needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_identity::{Authority, ServiceName};
use sextant_proto::certauthority::Profile;

/// An upstream component that the runner can run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// kube-apiserver
    KubeApiserver,
    /// kube-controller-manager
    KubeControllerManager,
    /// kube-scheduler
    KubeScheduler,
}

impl Component {
    /// Its name: of the program, the identity and the supervisor's configuration.
    pub fn name(self) -> &'static str {
        self.service().as_str()
    }

    /// The identity it enrols as.
    pub fn service(self) -> ServiceName {
        match self {
            Self::KubeApiserver => ServiceName::KubeApiserver,
            Self::KubeControllerManager => ServiceName::KubeControllerManager,
            Self::KubeScheduler => ServiceName::KubeScheduler,
        }
    }

    /// Its certificates: the profile, and the name of the files.
    pub(crate) fn certificates(self) -> &'static [(Profile, &'static str)] {
        match self {
            Self::KubeApiserver => &[
                (Profile::ApiserverServing, "apiserver"),
                (Profile::ApiserverKubeletClient, "kubelet-client"),
                (Profile::DatastoreClient, "datastore"),
                (Profile::RequestHeaderClient, "request-header-client"),
                (Profile::ProbeClient, PROBE),
            ],
            Self::KubeControllerManager => &[
                (Profile::ControllerManagerClient, PROBE),
                (Profile::ComponentServing, "serving"),
            ],
            Self::KubeScheduler => &[
                (Profile::SchedulerClient, PROBE),
                (Profile::ComponentServing, "serving"),
            ],
        }
    }

    /// Whether upstream traces what it does.
    pub(crate) fn is_traced(self) -> bool {
        self == Self::KubeApiserver
    }

    /// The port that it serves HTTPS on unless its flags say another.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::KubeApiserver => 6443,
            Self::KubeControllerManager => 10257,
            Self::KubeScheduler => 10259,
        }
    }

    /// Where it says whether it is ready. kube-apiserver's own answer includes KMS, which only Secrets need.
    pub(crate) fn ready_path(self) -> &'static str {
        match self {
            Self::KubeApiserver => "/readyz?exclude=kms-providers",
            Self::KubeControllerManager | Self::KubeScheduler => "/healthz",
        }
    }

    /// Where it says whether it should be restarted. A datastore that is away is no reason.
    pub(crate) fn live_path(self) -> &'static str {
        match self {
            Self::KubeApiserver => "/livez?exclude=etcd&exclude=kms-providers",
            Self::KubeControllerManager | Self::KubeScheduler => "/healthz",
        }
    }

    /// Whether it signs tokens, encrypts Secrets and reaches nodes through the runner's sockets.
    pub(crate) fn has_sockets(self) -> bool {
        self == Self::KubeApiserver
    }
}

/// The certificate that the runner's own questions are asked with.
pub(crate) const PROBE: &str = "client";

/// Trust bundles that every component finds beside its certificates.
pub(crate) const BUNDLES: [(Authority, &str); 4] = [
    (Authority::ClusterClient, "cluster-client-ca.pem"),
    (Authority::ClusterServer, "cluster-server-ca.pem"),
    (Authority::Datastore, "datastore-ca.pem"),
    (Authority::RequestHeader, "request-header-ca.pem"),
];

/// The port in `--secure-port=<port>`, the last one counts as with upstream's own parser.
pub(crate) fn secure_port(arguments: &[String]) -> Option<u16> {
    let mut values = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix("--secure-port="));
    values.next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_a_certificate_to_probe_with() {
        let all = [
            Component::KubeApiserver,
            Component::KubeControllerManager,
            Component::KubeScheduler,
        ];
        for component in all {
            assert!(
                component
                    .certificates()
                    .iter()
                    .any(|(_, name)| *name == PROBE)
            );
            let text = serde_json::to_string(&component).unwrap();
            assert_eq!(text, format!("\"{}\"", component.name()));
        }
    }

    #[test]
    fn the_port_is_read_from_the_flags() {
        let arguments = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            secure_port(&arguments(&["--v=2", "--secure-port=7443"])),
            Some(7443)
        );
        assert_eq!(
            secure_port(&arguments(&["--secure-port=1", "--secure-port=2"])),
            Some(2)
        );
        assert_eq!(secure_port(&arguments(&["--secure-port=x"])), None);
        assert_eq!(secure_port(&[]), None);
    }
}
