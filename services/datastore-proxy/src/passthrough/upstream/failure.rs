//! What became of a call that failed: whether etcd may have done what was asked, and what to tell.

use std::error::Error;
use tonic::{ConnectError, Status};

/// What a member without a leader says, before it does anything.
const NO_LEADER: &str = "etcdserver: no leader";

/// How a call failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// etcd has answered.
    Answered,
    /// The connection broke: it may have been done.
    Lost,
    /// It certainly wasn't done: another member may be asked.
    Undone,
}

pub(super) fn classify(status: &Status) -> Failure {
    if status.message() == NO_LEADER
        || causes(status)
            .iter()
            .any(|cause| cause.is::<ConnectError>())
    {
        return Failure::Undone;
    }
    // What comes from etcd has a code and a text; what comes from the connection has a cause.
    if status.source().is_some() {
        Failure::Lost
    } else {
        Failure::Answered
    }
}

/// The story of a failure: tonic's own text is only "transport error".
pub(super) fn reason(status: &Status) -> String {
    let mut story: Vec<String> = Vec::new();
    for text in causes(status).iter().map(ToString::to_string) {
        if text != "transport error" && !story.iter().any(|said| said.contains(&text)) {
            story.push(text);
        }
    }
    if story.is_empty() {
        return status.message().to_owned();
    }
    story.join(": ")
}

/// The errors behind a status, outermost first.
fn causes(status: &Status) -> Vec<&(dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = status.source();
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    causes
}
