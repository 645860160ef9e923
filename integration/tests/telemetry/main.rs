//! An observed cluster: the real collector and the real Prometheus beside it, and what they have to show. The cases run
//! one after the other on one cluster.

mod alerts;
mod panels;
mod prometheus;
mod traces;

use libtest_mimic::{Arguments, Failed, Trial};
use prometheus::Prometheus;
use sextant_integration::{Cluster, Observed};
use std::process::ExitCode;
use std::sync::Arc;

const PROJECT: &str = "sextant-telemetry";
const PORTS: (u16, u16) = (17443, 20443);
const OBSERVED: Observed = Observed {
    prometheus_port: 17090,
};

/// What the cases look at.
struct Subject {
    cluster: Cluster,
    prometheus: Prometheus,
}

type Case = (&'static str, fn(&Subject) -> anyhow::Result<()>);

const CASES: &[Case] = &[
    ("panels::every_target_answers", panels::every_target_answers),
    (
        "panels::every_query_has_an_answer",
        panels::every_query_has_an_answer,
    ),
    ("traces::a_join_is_one_trace", traces::a_join_is_one_trace),
    (
        "alerts::a_stopped_part_is_told_until_it_is_back",
        alerts::a_stopped_part_is_told_until_it_is_back,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let cluster = match Cluster::start_observed(PROJECT, PORTS, OBSERVED) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("the cluster didn't start: {error:#}");
            let cluster = Cluster::observed(PROJECT, PORTS, OBSERVED);
            eprintln!("{}", cluster.diagnosis());
            remove(&cluster);
            return ExitCode::FAILURE;
        }
    };
    let subject = Arc::new(Subject {
        cluster,
        prometheus: Prometheus::at(OBSERVED.prometheus_port),
    });
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&subject)));
    remove(&subject.cluster);
    conclusion.exit_code()
}

fn trials(subject: Option<&Arc<Subject>>) -> Vec<Trial> {
    let trial = |(name, case): &Case| {
        let (subject, case) = (subject.cloned(), *case);
        Trial::test(*name, move || match subject {
            Some(subject) => case(&subject).map_err(|error| Failed::from(format!("{error:#}"))),
            None => Ok(()),
        })
    };
    CASES.iter().map(trial).collect()
}

fn remove(cluster: &Cluster) {
    if let Err(error) = cluster.remove() {
        eprintln!("removing the cluster: {error:#}");
    }
}
