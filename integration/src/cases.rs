//! Cases that share what is slow to start: one after the other, in the order of their list, on one subject that is removed
//! afterwards.

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// A case and its name.
pub type Case<S> = (&'static str, fn(&S) -> Result<()>);

/// What the cases of one test program need: how their subject comes and goes.
pub trait Fixture {
    /// What they look at.
    type Subject: Send + Sync + 'static;

    /// The compose project, which stays with TEST_KEEP.
    const PROJECT: &'static str;

    /// Removes what an earlier run left, and starts.
    ///
    /// # Errors
    /// It isn't ready in time.
    fn start() -> Result<Self::Subject>;

    /// What is there already, in whatever state.
    ///
    /// # Errors
    /// Something that it needs isn't known.
    fn existing() -> Result<Self::Subject>;

    /// Its state, for a failure's message.
    fn diagnosis(subject: &Self::Subject) -> String;

    /// Removes it.
    ///
    /// # Errors
    /// Docker refuses.
    fn remove(subject: &Self::Subject) -> Result<()>;
}

/// The whole test program. With TEST_KEEP set, a subject on which a case failed stays for a look.
#[must_use]
pub fn run_cases<F: Fixture>(cases: &[Case<F::Subject>]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials::<F>(cases, None)).exit_code();
    }
    arguments.test_threads = Some(1);
    match F::start() {
        Ok(subject) => {
            let subject = Arc::new(subject);
            let conclusion = libtest_mimic::run(&arguments, trials::<F>(cases, Some(&subject)));
            finish::<F>(&subject, conclusion.num_failed > 0);
            conclusion.exit_code()
        }
        Err(error) => {
            eprintln!("{} didn't start: {error:#}", F::PROJECT);
            match F::existing() {
                Ok(subject) => {
                    eprintln!("{}", F::diagnosis(&subject));
                    finish::<F>(&subject, true);
                }
                Err(error) => eprintln!("looking at what is there: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn trials<F: Fixture>(cases: &[Case<F::Subject>], subject: Option<&Arc<F::Subject>>) -> Vec<Trial> {
    let trial = |(name, case): &Case<F::Subject>| {
        let (subject, case) = (subject.cloned(), *case);
        Trial::test(*name, move || match subject {
            Some(subject) => case(&subject)
                .map_err(|error| Failed::from(format!("{error:#}\n{}", F::diagnosis(&subject)))),
            None => Ok(()),
        })
    };
    cases.iter().map(trial).collect()
}

fn finish<F: Fixture>(subject: &F::Subject, failed: bool) {
    if failed && std::env::var_os("TEST_KEEP").is_some() {
        eprintln!("kept: docker compose --project-name {}", F::PROJECT);
    } else if let Err(error) = F::remove(subject) {
        eprintln!("removing {}: {error:#}", F::PROJECT);
    }
}
