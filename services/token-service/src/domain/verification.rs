//! Whether a join may use a token.

use std::net::IpAddr;

use super::{
    record::{JoinId, Record, TokenKey},
    token::{CaHash, JoinToken},
};

/// Why a token was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It pins another CA.
    #[error(
        "the join token belongs to another cluster, or the cluster's CA has changed: make a new one with `sextant token create`"
    )]
    CaMismatch,
    /// Its time is over.
    #[error("the join token `{0}` has expired: make a new one with `sextant token create`")]
    Expired(String),
    /// It isn't a token.
    #[error("this is no join token: {0}")]
    Malformed(&'static str),
    /// It was ended by hand.
    #[error("the join token `{0}` was revoked: make a new one with `sextant token create`")]
    Revoked(String),
    /// It is for somebody else.
    #[error("the join token is not for this node: {0}")]
    Scope(String),
    /// There is no such token, or its secret is another: which of the two isn't told.
    #[error(
        "the join token is unknown: check that all of it was copied, or make a new one with `sextant token create`"
    )]
    Unknown,
    /// It was used as often as it may be.
    #[error(
        "the join token `{0}` was used as often as it may be: make a new one with `sextant token create`"
    )]
    UsedUp(String),
}

impl Refusal {
    /// Stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CaMismatch => "ca_mismatch",
            Self::Expired(_) => "token_expired",
            Self::Malformed(_) => "token_malformed",
            Self::Revoked(_) => "token_revoked",
            Self::Scope(_) => "token_scope",
            Self::Unknown => "token_unknown",
            Self::UsedUp(_) => "token_used_up",
        }
    }
}

/// Who wants to join.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The wanted node name.
    pub node_name: &'a str,
    /// Where the join came from; None when it can't be read.
    pub source: Option<IpAddr>,
    /// Which join it is; None when nobody says: then each attempt counts.
    pub join: Option<&'a JoinId>,
}

/// What an accepted attempt does to the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// The same join came again.
    Again,
    /// One more use.
    Counts,
}

/// Whether the form of a token and the CA that it pins are right.
pub fn check_form(token: &JoinToken, ours: CaHash, short_allowed: bool) -> Result<(), Refusal> {
    match token.ca_hash {
        Some(hash) if hash == ours => Ok(()),
        Some(_) => Err(Refusal::CaMismatch),
        None if short_allowed => Ok(()),
        None => Err(Refusal::Malformed(
            "it lacks K10<CA hash>::, without which a node can't know whom it joins",
        )),
    }
}

/// Whether the secret is right. The same answer, after the same work, when there is no such token.
pub fn authenticate<'r>(
    record: Option<&'r Record>,
    token: &JoinToken,
    key: &TokenKey,
) -> Result<&'r Record, Refusal> {
    let right = key.matches(record, &token.id, &token.secret);
    record.filter(|_| right).ok_or(Refusal::Unknown)
}

/// Whether `attempt` may use an authenticated token now.
pub fn decide(
    record: &Record,
    id: &str,
    attempt: &Attempt<'_>,
    now: i64,
) -> Result<Accepted, Refusal> {
    if record.revoked {
        return Err(Refusal::Revoked(id.to_owned()));
    }
    if now >= record.expires {
        return Err(Refusal::Expired(id.to_owned()));
    }
    if let Some(name) = &record.scope.node_name
        && name != attempt.node_name
    {
        let wanted = attempt.node_name;
        return Err(Refusal::Scope(format!(
            "it is for `{name}`, not for `{wanted}`"
        )));
    }
    if !record.scope.admits(attempt.source) {
        let from = attempt
            .source
            .map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string());
        return Err(Refusal::Scope(format!(
            "joins from {from} are outside of its networks"
        )));
    }
    if attempt.join.is_some_and(|join| record.joins.contains(join)) {
        return Ok(Accepted::Again);
    }
    if record.scope.max_uses > 0 && record.uses >= record.scope.max_uses {
        return Err(Refusal::UsedUp(id.to_owned()));
    }
    Ok(Accepted::Counts)
}

#[cfg(test)]
mod tests;
