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
}
