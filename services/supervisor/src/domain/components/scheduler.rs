//! kube-scheduler.

use super::{Election, Flags, config_path, file, kubeconfig::kubeconfig};
use crate::domain::cluster::ClusterConfig;
use serde_json::json;
use sextant_proto::supervisor::ComponentFile;

pub(super) fn config(cluster: &ClusterConfig) -> (Flags, Vec<ComponentFile>) {
    let mut flags = Flags::default();
    let election = Election::of(cluster);
    flags
        .set_serving("serving")
        .set_delegated_auth()
        .set("config", config_path("scheduler.yaml"))
        .set("secure-port", "10259");
    // A flag for profiling is ignored when there is a file, so the file says it.
    flags.0.remove("profiling");
    let scheduler = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": config_path("kubeconfig.yaml")},
        "enableProfiling": false,
        "enableContentionProfiling": false,
        "leaderElection": {
            "leaderElect": true,
            "leaseDuration": election.lease,
            "renewDeadline": election.deadline,
            "retryPeriod": election.retry,
        },
    });
    (
        flags,
        vec![
            kubeconfig(cluster),
            file("scheduler.yaml", &scheduler, false),
        ],
    )
}
