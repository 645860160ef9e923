//! The chart `helm/sextant`, rendered by the real helm and judged by tables that know nothing of its templates, by the
//! services' own configuration check, and by a real kube-apiserver.
//!
//! `TEST_HELM`, `TEST_ETCD`, `TEST_KUBE_APISERVER` and `TEST_KUBECTL` name the programs; what needs one that isn't named
//! is skipped. Like `control_plane`, this program is each service itself when it is called by the service's name.

mod access;
mod chart;
mod configuration;
mod container;
mod edges;
mod enrol;
mod judged;
mod pods;
mod refused;
mod release;
mod server;
mod shape;

use libtest_mimic::{Arguments, Trial};
use std::path::Path;
use std::process::ExitCode;

/// Defines the list of cases, each of which is given the path of helm.
macro_rules! cases {
    ($($module:ident::$case:ident,)+) => {
        fn trials() -> Vec<Trial> {
            vec![$(Trial::test(
                concat!(stringify!($module), "::", stringify!($case)),
                || run($module::$case),
            ),)+]
        }
    };
}

cases! {
    refused::lint_has_nothing_to_say,
    refused::wrong_values_are_named,
    edges::policies_are_the_service_graph,
    edges::the_table_is_the_picture,
    pods::are_restricted,
    pods::run_where_they_are_told,
    pods::none_runs_asleep,
    pods::have_resources_and_probes,
    pods::end_after_they_drained,
    pods::know_their_collector,
    access::is_what_the_table_says,
    access::names_in_the_cluster_are_ours_alone,
    shape::nothing_secret_is_rendered,
    shape::services_and_monitors_find_their_pods,
    shape::routes_lead_to_services,
    shape::data_is_kept_unless_told_otherwise,
    shape::versions_are_those_of_the_images,
    configuration::services_know_their_settings,
    judged::every_object_is_taken,
    enrol::accounts_are_enough_and_needed,
    release::data_alone_outlives_it,
    release::versions_are_not_skipped,
}

fn main() -> ExitCode {
    if let Some(role) = std::env::args_os()
        .next()
        .as_deref()
        .and_then(configuration::role)
    {
        return role();
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

fn run(case: fn(&Path) -> anyhow::Result<()>) -> Result<(), libtest_mimic::Failed> {
    let Some(helm) = chart::program("TEST_HELM") else {
        return Ok(());
    };
    case(&helm).map_err(|error| format!("{error:#}").into())
}
