//! Bad input and failure: the control plane's own services as real processes on loopback, without Docker, and but for one
//! case without Kubernetes.
//!
//! Cargo gives a test the programs of its own package only. So this program is every service itself when it is
//! called by a service's name, with the same `main` as the service's own: what is tested is always what was
//! just built.

mod access;
mod alerts;
mod bench;
mod certificates;
mod clock;
mod configuration;
mod crash;
mod dashboard;
mod disk;
mod join_port;
mod keys;
mod node;
mod outage;
mod part;
mod plane;
mod rights;
mod stranger;
mod telemetry;
mod tokens;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// Defines the list of cases; each runs on a runtime of its own.
macro_rules! cases {
    ($($module:ident::$case:ident,)+) => {
        fn trials() -> Vec<Trial> {
            // They wait longer than all others: they begin first.
            alerts::trials().chain([$(Trial::test(
                concat!(stringify!($module), "::", stringify!($case)),
                || run($module::$case()),
            ),)+]).collect()
        }
    };
}

cases! {
    tokens::bad_tokens_are_refused_and_a_good_one_joins,
    tokens::one_name_belongs_to_one_key,
    certificates::requests_get_what_their_profile_says_and_no_more,
    certificates::nodes_get_their_own_names_only,
    configuration::unknown_keys_are_named,
    configuration::taken_ports_are_named,
    disk::a_corrupt_file_is_left_alone,
    disk::a_full_disk_stops_writes_only,
    crash::killed_at_any_moment_of_the_first_start,
    outage::datastore_stands_still,
    outage::datastore_is_gone,
    outage::each_neighbour_is_gone,
    access::every_cell_of_the_table,
    keys::ranges_are_cut_by_identity,
    join_port::strangers_do_not_stop_it,
    rights::rights_come_back_with_a_supervisor,
    dashboard::shows_the_plane_and_gives_the_terminal_back,
    telemetry::levels_change_live,
    telemetry::sampling_changes_live,
    telemetry::no_secret_is_told,
    telemetry::objects_make_no_series,
    telemetry::a_collector_that_is_away_holds_nothing_up,
    clock::three_days_off,
    clock::a_day_off,
}

fn main() -> ExitCode {
    if let Some(role) = std::env::args_os().next().as_deref().and_then(part::role) {
        return role();
    }
    if std::env::args().nth(1).as_deref() == Some("bench-telemetry") {
        let rounds = std::env::args()
            .nth(2)
            .and_then(|rounds| rounds.parse().ok());
        return match run(bench::run(rounds.unwrap_or(12))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                eprintln!("error: {}", failed.message().unwrap_or_default());
                ExitCode::FAILURE
            }
        };
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

fn run(case: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime
        .block_on(case)
        .map_err(|error| Failed::from(format!("{error:#}")))
}
