//! A join token as it is kept: without its secret.

use std::net::IpAddr;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sextant_identity::NodeName;
use sextant_proto::tokenservice as wire;

use crate::error::Error;

/// Default and longest life of a token, in seconds.
pub const DEFAULT_TTL: i64 = 3600;
/// Longest life of a token, in seconds.
pub const MAX_TTL: i64 = 30 * 24 * 3600;
/// Most uses that a token may be limited to; each is remembered.
pub const MAX_USES: u32 = 1000;
const MAX_CIDRS: usize = 64;
const MAX_DESCRIPTION: usize = 256;

/// What is kept of a token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// HMAC-SHA-256 over id and secret, hexadecimal.
    pub hash: String,
    /// What it is good for.
    pub scope: Scope,
    /// Free text.
    pub description: String,
    /// Unix time.
    pub created: i64,
    /// Unix time.
    pub expires: i64,
    /// It was ended by hand.
    pub revoked: bool,
    /// How many joins used it.
    pub uses: u32,
    /// The joins that used it, at most the last [`MAX_USES`].
    pub joins: Vec<JoinId>,
}

/// What a token is good for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Scope {
    /// The one name that may join.
    pub node_name: Option<String>,
    /// Source networks; none allows any.
    pub cidrs: Vec<IpNet>,
    /// 0 means no limit.
    pub max_uses: u32,
}

/// Tells joins apart: a hash of what the supervisor sends, hexadecimal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JoinId(String);

impl JoinId {
    /// Of `join_id` in a request.
    pub fn of(join_id: &[u8]) -> Self {
        Self(hex(&digest(&SHA256, join_id).as_ref()[..16]))
    }
}

impl Scope {
    /// Whether `source` lies in one of the networks.
    pub fn admits(&self, source: Option<IpAddr>) -> bool {
        let inside = |source: IpAddr| self.cidrs.iter().any(|cidr| cidr.contains(&source));
        self.cidrs.is_empty() || source.is_some_and(|source| inside(source.to_canonical()))
    }
}

impl TryFrom<wire::Scope> for Scope {
    type Error = Error;

    fn try_from(scope: wire::Scope) -> Result<Self, Error> {
        let invalid = |what: String| Err(Error::Invalid(what));
        let node_name = Some(scope.node_name).filter(|name| !name.is_empty());
        if let Some(name) = &node_name {
            name.parse::<NodeName>()
                .map_err(|error| Error::Invalid(error.to_string()))?;
        }
        if scope.cidrs.len() > MAX_CIDRS {
            return invalid(format!("a token may name at most {MAX_CIDRS} networks"));
        }
        let parse = |cidr: &String| {
            cidr.parse::<IpNet>()
                .map(|network| network.trunc())
                .map_err(|_| Error::Invalid(format!("`{cidr}` is no network, like 10.0.0.0/8")))
        };
        let cidrs = scope.cidrs.iter().map(parse).collect::<Result<_, _>>()?;
        if scope.max_uses > MAX_USES {
            return invalid(format!(
                "a token may be limited to at most {MAX_USES} uses, or 0"
            ));
        }
        Ok(Self {
            node_name,
            cidrs,
            max_uses: scope.max_uses,
        })
    }
}

/// Whether a token can be used, and why not.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Its life is over.
    Expired,
    /// It was ended by hand.
    Revoked,
    /// It can be used.
    Usable,
    /// As many joins as it allows have used it.
    UsedUp,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Expired, Self::Revoked, Self::Usable, Self::UsedUp];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Usable => "usable",
            Self::UsedUp => "used_up",
        }
    }
}

impl Record {
    /// What it is good for at this time.
    pub fn state(&self, now: i64) -> State {
        if self.revoked {
            State::Revoked
        } else if self.expires <= now {
            State::Expired
        } else if self.scope.max_uses > 0 && self.uses >= self.scope.max_uses {
            State::UsedUp
        } else {
            State::Usable
        }
    }

    /// A record for a new token, from what its maker asked for.
    pub fn new(request: wire::CreateRequest, hash: String, now: i64) -> Result<Self, Error> {
        let ttl = match request.ttl_seconds {
            0 => DEFAULT_TTL,
            ttl @ 1..=MAX_TTL => ttl,
            ttl => {
                let message = format!("a token lives 1 to {MAX_TTL} seconds (30 days), not {ttl}");
                return Err(Error::Invalid(message));
            }
        };
        if request.description.len() > MAX_DESCRIPTION {
            let message = format!("a description has at most {MAX_DESCRIPTION} bytes");
            return Err(Error::Invalid(message));
        }
        Ok(Self {
            hash,
            scope: request.scope.unwrap_or_default().try_into()?,
            description: request.description,
            created: now,
            expires: now + ttl,
            revoked: false,
            uses: 0,
            joins: Vec::new(),
        })
    }

    /// The record after one more join.
    pub fn used_by(mut self, join: JoinId) -> Self {
        self.uses = self.uses.saturating_add(1);
        self.joins.push(join);
        let limit = usize::try_from(MAX_USES).unwrap_or(usize::MAX);
        if self.joins.len() > limit {
            // Only tokens without a limit of uses come here: forgetting the oldest counts nothing wrong.
            self.joins.remove(0);
        }
        self
    }

    /// As it is shown.
    pub fn to_wire(&self, id: &str) -> wire::Token {
        wire::Token {
            id: id.to_owned(),
            scope: Some(wire::Scope {
                node_name: self.scope.node_name.clone().unwrap_or_default(),
                cidrs: self.scope.cidrs.iter().map(ToString::to_string).collect(),
                max_uses: self.scope.max_uses,
            }),
            description: self.description.clone(),
            created_unix: self.created,
            expires_unix: self.expires,
            uses: self.uses,
            revoked: self.revoked,
        }
    }
}

/// The key under which secrets are hashed. A stolen datastore is of no use for guessing without it.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// Length of the key in bytes.
    pub const LENGTH: usize = 32;

    /// From its bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// What is kept of a token. Ids have one length, so id and secret can't be cut differently.
    pub fn hash(&self, id: &str, secret: &str) -> String {
        hex(hmac::sign(&self.0, format!("{id}{secret}").as_bytes()).as_ref())
    }

    /// Whether `hash` belongs to id and secret, in a time that says nothing about where they differ. Without a
    /// record it takes as long and is false.
    pub fn matches(&self, record: Option<&Record>, id: &str, secret: &str) -> bool {
        let kept = record.and_then(|record| unhex(&record.hash));
        let known = kept.is_some();
        let expected = kept.unwrap_or([0; 32]);
        let same = hmac::verify(&self.0, format!("{id}{secret}").as_bytes(), &expected).is_ok();
        same & known
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}
