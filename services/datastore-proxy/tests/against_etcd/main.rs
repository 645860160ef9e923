//! The same programs for a real etcd and for datastore-proxy, step by step: every answer must be the same, byte
//! for byte, up to the ids of cluster and members.
//!
//! `TEST_ETCD` names the etcd binary; without it the tests are skipped. `TEST_SEED` repeats one random program,
//! `TEST_PROGRAMS` runs more of them. A program that fails is made small and kept in `kept/`, to be committed with
//! the fix: it is run each time from then on.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod backend;
mod etcdctl;
mod hash;
mod kept;
mod matrix;
mod normal;
mod program;
mod shrink;
mod side;
mod step;
mod watch_ids;

use backend::{Backend, Etcd, etcd_binary};
use normal::Outcome;
use program::Program;
use side::{Side, World};
use std::path::Path;
use step::Step;

const PROGRAMS: u64 = 20;
const STEPS: usize = 300;
/// What is printed of an answer that differs.
const SHOWN: usize = 4000;

/// Where the two differ.
#[derive(Debug)]
struct Difference {
    /// Everything that was run, up to the step that differs.
    program: Vec<Step>,
    what: String,
}

/// Runs the steps that `next` makes, given the newest revision, on both sides.
async fn compare(
    mut theirs: Side,
    mut ours: Side,
    mut next: impl FnMut(i64) -> Option<Step>,
) -> Result<(), Difference> {
    let mut world = World::new();
    let mut program = Vec::new();
    while let Some(step) = next(world.newest) {
        program.push(step.clone());
        let expected = theirs.run(&step, world).await;
        let found = ours.run(&step, world).await;
        if found != expected || found == Outcome::Hung {
            let what = format!("{}\n{}", shown(&step), both(&expected, &found));
            return Err(Difference { program, what });
        }
        world.note(&step, &expected);
    }
    let (expected, found) = (theirs.told(world).await, ours.told(world).await);
    if found != expected {
        let what = format!("what watches were told\n{}", both(&expected, &found));
        return Err(Difference { program, what });
    }
    Ok(())
}

fn both(expected: &impl std::fmt::Debug, found: &impl std::fmt::Debug) -> String {
    format!("etcd: {}\nours: {}", shown(expected), shown(found))
}

fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take(SHOWN).collect()
}

/// [`compare`] on a fresh etcd and a fresh store; `None`: there is no such backend here.
async fn compare_fresh(
    etcd: &Path,
    backend: Backend,
    next: impl FnMut(i64) -> Option<Step>,
) -> Option<Result<(), Difference>> {
    let running = backend.start().await?;
    let etcd = Etcd::start(etcd).await;
    let (theirs, ours) = (etcd.clients().await, running.clients().await);
    let compared = compare(Side::new(theirs), Side::new(ours), next).await;
    running.stop().await;
    Some(compared)
}

async fn replay(etcd: &Path, backend: Backend, program: &[Step]) -> Option<Result<(), Difference>> {
    let mut steps = program.iter();
    compare_fresh(etcd, backend, |_| steps.next().cloned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn random_programs() {
    let Some(etcd) = etcd_binary() else { return };
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let programs = number("TEST_PROGRAMS").unwrap_or(PROGRAMS);
    let seeds = number("TEST_SEED").map_or(0..programs, |seed| seed..seed + 1);
    for backend in Backend::ALL {
        for seed in seeds.clone() {
            let mut program = Program::new(seed);
            let mut left = STEPS;
            let next = |newest| {
                left = left.checked_sub(1)?;
                Some(program.next(newest))
            };
            match compare_fresh(&etcd, backend, next).await {
                None => break,
                Some(Ok(())) => {}
                Some(Err(difference)) => failed(&etcd, backend, seed, difference).await,
            }
        }
    }
}

/// Makes the program small, keeps it, and ends the test.
async fn failed(etcd: &Path, backend: Backend, seed: u64, difference: Difference) {
    println!("seed {seed}, {backend:?}: {}", difference.what);
    let fails =
        async |program: &[Step]| matches!(replay(etcd, backend, program).await, Some(Err(_)));
    let shrunk = shrink::shrink(difference.program, fails).await;
    let path = kept::keep(&format!("seed-{seed}"), &shrunk);
    let again = replay(etcd, backend, &shrunk).await;
    panic!(
        "seed {seed}, {backend:?}: kept as {}; give it a name and commit it. Its {} steps end with: {}",
        path.display(),
        shrunk.len(),
        again
            .and_then(Result::err)
            .map_or_else(String::new, |difference| difference.what)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_programs() {
    let Some(etcd) = etcd_binary() else { return };
    for backend in Backend::ALL {
        for (name, program) in kept::all() {
            if let Some(Err(difference)) = replay(&etcd, backend, &program).await {
                panic!("{name}, {backend:?}: {}", difference.what);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination() {
    let Some(etcd) = etcd_binary() else { return };
    for backend in Backend::ALL {
        for program in [
            matrix::ranges(),
            matrix::compares(),
            matrix::leases(),
            matrix::sizes(),
        ] {
            if let Some(Err(difference)) = replay(&etcd, backend, &program).await {
                panic!("{backend:?}: {}", difference.what);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_watches() {
    let Some(etcd) = etcd_binary() else { return };
    for backend in Backend::ALL {
        let Some(running) = backend.start().await else {
            continue;
        };
        let etcd = Etcd::start(&etcd).await;
        let expected = watch_ids::answers(&mut etcd.clients().await).await;
        let found = watch_ids::answers(&mut running.clients().await).await;
        assert_eq!(found, expected, "{backend:?}");
        running.stop().await;
    }
}
