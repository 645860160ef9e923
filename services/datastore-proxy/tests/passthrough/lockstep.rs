//! The random programs of `against_etcd`, for an etcd and for a datastore-proxy in front of another one: the same
//! answers, up to ids, and with a prefix up to the numbers of revisions.

#[path = "../against_etcd/normal.rs"]
mod normal;
#[path = "../against_etcd/program.rs"]
mod program;
#[allow(dead_code, reason = "watches aren't followed here")]
#[path = "../against_etcd/side.rs"]
mod side;
#[allow(dead_code, reason = "programs are neither shrunk nor kept here")]
#[path = "../against_etcd/step.rs"]
mod step;

use crate::etcd::{self, Etcd, plane};
use crate::revisions::Revisions;
use crate::support::{Clients, get, revision};
use normal::Outcome;
use program::Program;
use side::{Side, World};
use step::Step;

const PROGRAMS: u64 = 6;
const STEPS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_of_its_own() {
    programs("", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_among_others() {
    // Even programs have transactions that delete from a key on without an end and put such a key again. A plane's
    // keys have an end in the etcd, which then sees that both meet.
    programs("/a/plane", 2).await;
}

async fn programs(prefix: &str, every: usize) {
    let Some(binary) = etcd::binary() else { return };
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let programs = number("TEST_PROGRAMS").unwrap_or(PROGRAMS);
    let seeds = number("TEST_SEED").map_or(1..programs + 1, |seed| seed..seed + 1);
    for seed in seeds.step_by(every) {
        println!("TEST_SEED={seed}, prefix {prefix:?}");
        let (plain, behind) = (Etcd::start(&binary).await, Etcd::start(&binary).await);
        let served = plane(&behind, prefix).await;
        compare(
            seed,
            Clients::connect(&plain.url()).await,
            served.clients().await,
        )
        .await;
        served.stop().await;
    }
}

async fn compare(seed: u64, theirs: Clients, mut ours: Clients) {
    let mut program = Program::new(seed);
    let header = ours
        .kv
        .range(get("x"))
        .await
        .expect("an answer")
        .into_inner()
        .header;
    let mut revisions = Revisions::new(revision(header));
    let (mut theirs, mut ours) = (Side::new(theirs), Side::new(ours));
    let (mut newest, mut compacted) = (1, 0);
    for number in 0..STEPS {
        let step = program.next(newest);
        if !is_translated(&step) {
            continue;
        }
        // The numbers of revisions differ, so what both know of them is kept here.
        let world = World::new();
        let mut expected = theirs.run(&step, world).await;
        assert_ne!(
            expected,
            Outcome::Hung,
            "seed {seed}, step {number}: {step:#?}"
        );
        let mut asked = step.clone();
        ask(&revisions, &mut asked);
        let mut found = ours.run(&asked, world).await;
        if let (Some(plain), Some(plane)) = (expected.revision(), found.revision())
            && plain > newest
        {
            newest = plain;
            revisions.note(plain, plane);
        }
        answer(&revisions, &mut found);
        if let (Step::Compact(request), Outcome::Compact(_)) = (&step, &expected) {
            compacted = request.revision;
        }
        forget(compacted, &mut expected);
        forget(compacted, &mut found);
        assert_eq!(found, expected, "seed {seed}, step {number}: {step:#?}");
    }
}

/// Whether a step is of the present or the past, whose revisions have a number on both sides.
fn is_translated(step: &Step) -> bool {
    !matches!(
        step,
        Step::Cancel(_) | Step::Follow(_) | Step::KeepAlive(_) | Step::Leases(_)
    )
}

/// What was before the compaction may be gone from a watch or not.
fn forget(compacted: i64, outcome: &mut Outcome) {
    let Outcome::Watch(answers) = outcome else {
        return;
    };
    for event in answers.iter_mut().flat_map(|answer| &mut answer.events) {
        if event
            .kv
            .as_ref()
            .is_some_and(|kv| kv.mod_revision <= compacted)
        {
            event.prev_kv = None;
        }
    }
}

fn ask(revisions: &Revisions, step: &mut Step) {
    match step {
        Step::Compact(request) => revisions.ask_compaction(request),
        Step::Range(request) | Step::Stream(request) => revisions.ask_range(request),
        Step::Txn(request) => revisions.ask_txn(request),
        Step::Watch(request) => revisions.ask_watch(request),
        _ => {}
    }
}

fn answer(revisions: &Revisions, outcome: &mut Outcome) {
    match outcome {
        Outcome::Compact(answer) => revisions.header(&mut answer.header),
        Outcome::Delete(answer) => revisions.delete(answer),
        Outcome::Failed(..)
        | Outcome::Hung
        | Outcome::KeepAlive(_)
        | Outcome::Leases(_)
        | Outcome::Skipped
        | Outcome::Told(_) => {}
        Outcome::Grant(answer) => revisions.header(&mut answer.header),
        Outcome::Put(answer) => revisions.put(answer),
        Outcome::Range(answer) => revisions.range(answer),
        Outcome::Revoke(answer) => revisions.header(&mut answer.header),
        Outcome::TimeToLive(answer) => revisions.header(&mut answer.header),
        Outcome::Txn(answer) => revisions.txn(answer),
        Outcome::Watch(answers) => answers
            .iter_mut()
            .for_each(|answer| revisions.watch(answer)),
    }
}
