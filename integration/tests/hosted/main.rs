//! Two control planes that Helm installs into a cluster of the compose file, with a node each, and what must hold for
//! them. The cases run one after the other, in the order of this list; the last ones remove the planes.

mod attacker;
mod failure;
mod reach;
mod removal;
mod route;
mod tenants;
mod upgrade;
mod world;

use anyhow::Result;
use sextant_integration::{Case, Fixture, run_cases};
use std::process::ExitCode;
use world::World;

const CASES: &[Case<World>] = &[
    ("tenants::helm_test_passes", tenants::helm_test),
    ("tenants::work_as_clusters_do", tenants::workloads),
    ("reach::through_a_load_balancer", reach::load_balancer),
    ("reach::by_names_with_tls_passed_through", reach::names),
    (
        "attacker::identities_are_a_planes_own",
        attacker::identities,
    ),
    ("attacker::tokens_are_a_planes_own", attacker::tokens),
    ("attacker::accounts_see_nothing_else", attacker::accounts),
    (
        "attacker::a_tenants_node_reaches_public_ports_alone",
        attacker::network,
    ),
    (
        "attacker::the_api_server_is_no_way_round",
        attacker::through_the_api_server,
    ),
    ("failure::every_pod_killed_in_turn", failure::kill_each),
    (
        "failure::without_token_review",
        failure::without_token_review,
    ),
    ("failure::a_withheld_part_says_so", failure::withheld),
    ("failure::a_hosting_node_is_drained", failure::drain),
    ("upgrade::wrong_values_are_refused", upgrade::wrong_values),
    (
        "upgrade::what_a_cluster_is_built_on_stays",
        upgrade::refused,
    ),
    ("upgrade::scaled_up", upgrade::scale_up),
    (
        "upgrade::rolled_and_rolled_back_without_a_failed_request",
        upgrade::rolled,
    ),
    ("upgrade::scaled_down", upgrade::scale_down),
    (
        "upgrade::each_part_scaled_up_and_down_under_load",
        upgrade::up_and_down,
    ),
    ("upgrade::asleep_and_awake", upgrade::asleep),
    ("removal::leaves_nothing_but_data", removal::keeps_data),
    ("removal::comes_back_from_its_data", removal::comes_back),
    ("removal::leaves_nothing", removal::nothing),
];

fn main() -> ExitCode {
    run_cases::<Planes>(CASES)
}

/// The hosting cluster and both planes.
struct Planes;

impl Fixture for Planes {
    type Subject = World;
    const PROJECT: &'static str = world::HOST;

    fn start() -> Result<World> {
        World::start()
    }

    fn existing() -> Result<World> {
        World::existing()
    }

    fn diagnosis(world: &World) -> String {
        world.diagnosis()
    }

    fn remove(world: &World) -> Result<()> {
        world.remove()
    }
}
