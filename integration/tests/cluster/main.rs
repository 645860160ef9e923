//! A cluster of the compose file, and everything that must work on it. The cases run one after the other on one
//! cluster, in the order of this list; those that break parts come last.

mod addons;
mod addresses;
mod failure;
mod nodes;
mod outage;
mod policy;
mod security;
mod tokens;
mod workloads;

use anyhow::Result;
use sextant_integration::{Case, Cluster, Fixture, run_cases};
use std::process::ExitCode;

const CASES: &[Case<Cluster>] = &[
    (
        "workloads::service_is_reachable_by_name_from_the_other_node",
        workloads::service_by_name,
    ),
    (
        "workloads::logs_exec_cp_port_forward_and_restart_work",
        workloads::kubectl_verbs,
    ),
    (
        "workloads::pod_reaches_the_api_with_its_own_token",
        workloads::pod_reaches_api,
    ),
    (
        "addons::a_claim_gets_a_volume_that_outlives_its_pods",
        addons::volume,
    ),
    (
        "addons::the_provisioner_makes_nothing_else",
        addons::provisioner_rights,
    ),
    ("addons::nodes_and_pods_are_measured", addons::metrics),
    ("policy::deny_bites_and_allow_opens", policy::deny_and_allow),
    (
        "policy::holds_without_bridge_netfilter",
        policy::without_bridge_netfilter,
    ),
    (
        "policy::established_flow_is_cut",
        policy::established_flow_is_cut,
    ),
    (
        "security::anonymous_requests_are_refused",
        security::anonymous_refused,
    ),
    (
        "security::secrets_are_encrypted_in_the_datastore",
        security::secrets_encrypted,
    ),
    ("security::pod_security_is_enforced", security::pod_security),
    (
        "security::no_signing_key_near_kube_apiserver",
        security::no_signing_keys,
    ),
    (
        "security::containers_have_few_rights",
        security::container_rights,
    ),
    (
        "security::nothing_secret_in_arguments_or_environment",
        security::no_secrets_in_view,
    ),
    (
        "security::pods_reach_no_control_plane_port",
        security::pods_are_kept_out,
    ),
    (
        "security::kubelet_read_only_port_is_closed",
        security::read_only_port,
    ),
    (
        "security::nothing_else_listens",
        security::nothing_else_listens,
    ),
    (
        "security::api_servers_reach_no_node_directly",
        security::api_servers_reach_no_node,
    ),
    ("tokens::bad_tokens_are_refused", tokens::bad_tokens),
    ("tokens::third_node_joins_by_hand", tokens::third_node),
    ("nodes::cli_shows_the_cluster", nodes::cli),
    ("nodes::two_supervisors_relay_the_tunnel", nodes::relay),
    (
        "nodes::two_of_each_upstream_component",
        nodes::upstream_replicas,
    ),
    ("nodes::a_removed_node_joins_anew", nodes::removed),
    (
        "failure::every_part_comes_back_after_kill",
        failure::kill_each,
    ),
    ("failure::agent_dies_and_pods_live", failure::agent_dies),
    (
        "outage::datastore_away_for_a_minute",
        outage::datastore_away_for_a_minute,
    ),
    (
        "addresses::containers_come_back_with_others",
        addresses::others_everywhere,
    ),
    (
        "failure::stop_and_start_keep_the_cluster",
        failure::stop_start,
    ),
    ("failure::down_and_up_keep_the_cluster", failure::down_up),
    (
        "addons::a_volume_outlives_its_nodes_container",
        addons::volume_outlives_containers,
    ),
    ("addons::switched_off_they_go", addons::switched_off),
];

fn main() -> ExitCode {
    run_cases::<Dev>(CASES)
}

/// The dev cluster.
struct Dev;

impl Fixture for Dev {
    type Subject = Cluster;
    const PROJECT: &'static str = "sextant-test";

    fn start() -> Result<Cluster> {
        Cluster::start(Self::PROJECT, 16443, 19443)
    }

    fn existing() -> Result<Cluster> {
        Ok(Cluster::existing(Self::PROJECT, 16443, 19443))
    }

    fn diagnosis(cluster: &Cluster) -> String {
        cluster.diagnosis()
    }

    fn remove(cluster: &Cluster) -> Result<()> {
        cluster.remove()
    }
}
