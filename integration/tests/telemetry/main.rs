//! An observed cluster: the real collector and the real Prometheus beside it, and what they have to show. The cases run
//! one after the other on one cluster.

mod alerts;
mod pages;
mod panels;
mod traces;
mod written;

use anyhow::Result;
use sextant_integration::{Case, Cluster, Fixture, Observed, Prometheus, run_cases};
use std::process::ExitCode;

const PORTS: (u16, u16) = (17443, 20443);
const OBSERVED: Observed = Observed {
    prometheus_port: 17090,
};

/// What the cases look at.
struct Subject {
    cluster: Cluster,
    prometheus: Prometheus,
}

const CASES: &[Case<Subject>] = &[
    ("panels::every_target_answers", panels::every_target_answers),
    (
        "panels::every_query_has_an_answer",
        panels::every_query_has_an_answer,
    ),
    (
        "pages::every_page_is_served_and_drawn",
        pages::every_page_is_served_and_drawn,
    ),
    ("traces::a_join_is_one_trace", traces::a_join_is_one_trace),
    (
        "traces::an_apply_is_one_trace",
        traces::an_apply_is_one_trace,
    ),
    (
        "traces::a_pod_start_shows_its_steps",
        traces::a_pod_start_shows_its_steps,
    ),
    (
        "traces::addons_are_applied_in_one_trace",
        traces::addons_are_applied_in_one_trace,
    ),
    (
        "traces::a_rotation_is_one_trace",
        traces::a_rotation_is_one_trace,
    ),
    (
        "alerts::all_rules_are_evaluated",
        alerts::all_rules_are_evaluated,
    ),
    (
        "alerts::each_fault_is_told_until_it_ends",
        alerts::each_fault_is_told_until_it_ends,
    ),
];

fn main() -> ExitCode {
    run_cases::<Observing>(CASES)
}

/// An observed cluster.
struct Observing;

impl Fixture for Observing {
    type Subject = Subject;
    const PROJECT: &'static str = "sextant-telemetry";

    fn start() -> Result<Subject> {
        Cluster::start_observed(Self::PROJECT, PORTS, OBSERVED).map(Subject::new)
    }

    fn existing() -> Result<Subject> {
        let cluster = Cluster::observed(Self::PROJECT, PORTS, OBSERVED);
        Ok(Subject::new(cluster))
    }

    fn diagnosis(subject: &Subject) -> String {
        subject.cluster.diagnosis()
    }

    fn remove(subject: &Subject) -> Result<()> {
        subject.cluster.remove()
    }
}

impl Subject {
    fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            prometheus: Prometheus::at(OBSERVED.prometheus_port),
        }
    }
}
