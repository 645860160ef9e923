//! Makes failing programs small.

use super::step::Step;
use std::time::{Duration, Instant};

/// A shrunk program need not be the smallest one.
const TRIALS: usize = 300;
/// Nor is it waited for long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Leaves out of `program`, which fails, what it fails without.
pub async fn shrink(program: Vec<Step>, fails: impl AsyncFn(&[Step]) -> bool) -> Vec<Step> {
    let mut search = Search {
        program,
        fails,
        trials: 0,
        began: Instant::now(),
    };
    search.leave_out().await;
    search.simplify().await;
    search.leave_out().await;
    search.program
}

struct Search<F> {
    program: Vec<Step>,
    fails: F,
    trials: usize,
    began: Instant,
}

impl<F: AsyncFn(&[Step]) -> bool> Search<F> {
    /// Keeps `candidate` if it fails too.
    async fn keep(&mut self, candidate: Vec<Step>) -> bool {
        self.trials += 1;
        let goes_on = self.trials <= TRIALS && self.began.elapsed() < PATIENCE;
        let fails = goes_on && (self.fails)(&candidate).await;
        if fails {
            self.program = candidate;
        }
        fails
    }

    /// Halves, then quarters, down to single steps.
    async fn leave_out(&mut self) {
        let mut size = self.program.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.program.len() {
                let end = (at + size).min(self.program.len());
                let candidate = [&self.program[..at], &self.program[end..]].concat();
                if candidate.is_empty() || !self.keep(candidate).await {
                    at = end;
                }
            }
            size /= 2;
        }
    }

    async fn simplify(&mut self) {
        for at in 0..self.program.len() {
            loop {
                let mut simpler = self.program[at].simpler().into_iter();
                let found = loop {
                    let Some(step) = simpler.next() else {
                        break false;
                    };
                    let mut candidate = self.program.clone();
                    candidate[at] = step;
                    if self.keep(candidate).await {
                        break true;
                    }
                };
                if !found {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_a_program_fails_without_is_left_out() {
    use sextant_proto::etcd::etcdserverpb as pb;
    let put = |key: &'static str, prev_kv| {
        Step::Put(pb::PutRequest {
            key: key.into(),
            prev_kv,
            ..pb::PutRequest::default()
        })
    };
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    let program = keys.map(|key| put(key, true)).to_vec();
    let has = |program: &[Step], key| {
        let is = |step: &Step| matches!(step, Step::Put(put) if put.key == key);
        program.iter().any(is)
    };
    let fails = async |program: &[Step]| has(program, "b") && has(program, "f");
    let shrunk = shrink(program, fails).await;
    assert_eq!(shrunk, [put("b", false), put("f", false)]);
}
