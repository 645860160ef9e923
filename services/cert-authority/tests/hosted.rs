//! A control plane in another cluster: cert-authority with the rights that a pod of it has, against a real
//! kube-apiserver.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "hosted/enrolling.rs"]
mod enrolling;
#[path = "grpc/harness.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod harness;
#[path = "hosted/plane.rs"]
mod plane;
#[path = "hosted/state.rs"]
mod state;

use sextant_testkit::HostingCluster;

/// One cluster for all of them, each in a namespace of its own.
#[tokio::test(flavor = "multi_thread")]
async fn hosted() {
    let Some(cluster) = HostingCluster::start().await else {
        return;
    };
    enrolling::accounts_enrol_as_what_they_are_named_after(&cluster).await;
    enrolling::no_other_token_enrols(&cluster).await;
    enrolling::attempts_are_counted_before_the_hosting_cluster_is_asked(&cluster).await;
    enrolling::while_the_hosting_cluster_is_away_enrolling_waits(&cluster).await;

    state::replicas_that_start_at_once_are_one_plane(&cluster).await;
    state::a_first_start_killed_at_any_step_starts_again(&cluster).await;
    state::what_is_lost_is_not_made_anew(&cluster).await;
    state::the_bootstrap_ends_for_all_replicas(&cluster).await;
    state::a_given_seal_key_is_used_and_none_is_made(&cluster).await;
    state::the_keyring_stays_in_a_folder_if_told_so(&cluster).await;
    state::a_start_waits_for_the_hosting_cluster(&cluster).await;
}
