//! Who may call what on which keys: one table.
//!
//! A range that reaches beyond what its caller may touch is cut, as if the other keys did not exist; a range that
//! lies wholly outside is refused.

use super::fault::Fault;
use super::lease::Lease;
use super::range::KeyRange;
use super::request::{Op, Txn};
use sextant_identity::Identity;

/// Groups of RPCs that are granted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Snapshot, Hash, HashKV, Defragment, Alarm.
    Care,
    /// Compact.
    Compact,
    /// Range, RangeStream, Put, DeleteRange, Txn, Watch, the leases, locks and elections.
    Keys,
    /// Status, MemberList.
    Status,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Care, Self::Compact, Self::Keys, Self::Status];

    fn describe(self) -> &'static str {
        match self {
            Self::Care => "Snapshot, Hash, Defragment or Alarm",
            Self::Compact => "Compact",
            Self::Keys => "KV, Watch or Lease",
            Self::Status => "Status or MemberList",
        }
    }
}

/// One row of the table.
struct Grant {
    caller: &'static str,
    calls: &'static [Call],
    prefixes: &'static [&'static [u8]],
    keys: &'static [&'static [u8]],
}

/// The caller of a plaintext connection on loopback.
const LOCAL: &str = "local";

const TABLE: &[Grant] = &[
    Grant {
        caller: LOCAL,
        calls: &Call::ALL,
        prefixes: &[b""],
        keys: &[],
    },
    Grant {
        caller: "admin",
        calls: &[Call::Care, Call::Compact, Call::Status],
        prefixes: &[],
        keys: &[],
    },
    Grant {
        caller: "cert-authority",
        calls: &[Call::Keys, Call::Status],
        prefixes: &[b"/sextant/cert-authority/"],
        keys: &[],
    },
    Grant {
        caller: "kube-apiserver",
        calls: &[Call::Compact, Call::Keys, Call::Status],
        prefixes: &[b"/registry/"],
        keys: &[b"compact_rev_key"],
    },
    Grant {
        caller: "supervisor",
        calls: &[Call::Care, Call::Keys, Call::Status],
        prefixes: &[b"/sextant/supervisor/"],
        keys: &[],
    },
    Grant {
        caller: "token-service",
        calls: &[Call::Keys, Call::Status],
        prefixes: &[b"/sextant/token-service/"],
        keys: &[],
    },
];

/// Who asks, with what the table grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: String,
    calls: Vec<Call>,
    ranges: Vec<KeyRange>,
}

impl Caller {
    /// A caller to whom the configuration grants something.
    pub fn granted(name: String, calls: Vec<Call>, ranges: Vec<KeyRange>) -> Self {
        Self {
            name,
            calls,
            ranges,
        }
    }

    /// The caller of that identity.
    pub fn identified(identity: &Identity) -> Self {
        match identity {
            Identity::Admin => Self::named("admin"),
            Identity::Service(name) => Self::named(name.as_str()),
            // Prefixed, so that no node can take a service's name.
            Identity::Node(name) => Self::named(&format!("node/{}", name.as_str())),
        }
    }

    /// The caller of that name; one that the table doesn't know may do nothing.
    pub fn named(name: &str) -> Self {
        let grant = TABLE.iter().find(|grant| grant.caller == name);
        let ranges = grant.map_or_else(Vec::new, |grant| {
            let prefixes = grant.prefixes.iter().map(|prefix| KeyRange::prefix(prefix));
            let keys = grant.keys.iter().map(|key| KeyRange::key((*key).into()));
            prefixes.chain(keys).collect()
        });
        Self {
            name: name.to_owned(),
            calls: grant.map_or_else(Vec::new, |grant| grant.calls.to_vec()),
            ranges,
        }
    }

    /// Whoever reaches the plaintext listener on loopback: may do everything.
    pub fn local() -> Self {
        Self::named(LOCAL)
    }

    /// Its name, which owns its leases.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may call at all.
    pub fn check(&self, call: Call) -> Result<(), Fault> {
        if self.calls.contains(&call) {
            return Ok(());
        }
        Err(Fault::DeniedCall {
            caller: self.name.clone(),
            what: call.describe(),
        })
    }

    /// Whether this is the local user, whose are all leases.
    pub fn is_local(&self) -> bool {
        self.name == LOCAL
    }

    /// Whether the lease is its own.
    pub fn check_lease(&self, lease: &Lease) -> Result<(), Fault> {
        self.check_owner(lease.id, &lease.owner)
    }

    /// Whether a lease that `owner` made is its own.
    pub fn check_owner(&self, lease: i64, owner: &str) -> Result<(), Fault> {
        if owner == self.name || self.is_local() {
            return Ok(());
        }
        Err(Fault::DeniedLease {
            caller: self.name.clone(),
            lease,
        })
    }

    /// What of `range` it may touch.
    pub fn clip(&self, range: &KeyRange) -> Result<KeyRange, Fault> {
        let mut parts = self
            .ranges
            .iter()
            .map(|granted| granted.intersection(range));
        let mut part = None;
        for candidate in parts.by_ref().filter(|candidate| !candidate.is_empty()) {
            if part.replace(candidate).is_some() {
                // Two pieces are no range: answering with one of them would hide the other.
                return Err(self.denied(range));
            }
        }
        match part {
            Some(part) => Ok(part),
            // Nothing is in an empty range, so there is nothing to refuse.
            None if range.is_empty() && !self.ranges.is_empty() => Ok(range.clone()),
            None => Err(self.denied(range)),
        }
    }

    /// Cuts every range of a transaction.
    pub fn clip_txn(&self, txn: &mut Txn) -> Result<(), Fault> {
        for compare in &mut txn.compares {
            compare.range = self.clip(&compare.range)?;
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match op {
                Op::Delete(delete) => delete.range = self.clip(&delete.range)?,
                Op::Put(put) => {
                    self.clip(&KeyRange::key(put.key.clone()))?;
                }
                Op::Range(query) => query.range = self.clip(&query.range)?,
                Op::Txn(nested) => self.clip_txn(nested)?,
            }
        }
        Ok(())
    }

    fn denied(&self, range: &KeyRange) -> Fault {
        let granted: Vec<String> = self.ranges.iter().map(KeyRange::to_string).collect();
        let granted = if granted.is_empty() {
            "no keys".into()
        } else {
            granted.join(", ")
        };
        Fault::DeniedRange {
            caller: self.name.clone(),
            range: range.clone(),
            granted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::parse(key.into(), end.into())
    }

    #[test]
    fn every_cell_of_calls() {
        let expected = [
            ("admin", [true, true, false, true]),
            ("cert-authority", [false, false, true, true]),
            ("kube-apiserver", [false, true, true, true]),
            ("kube-scheduler", [false; 4]),
            ("local", [true; 4]),
            ("supervisor", [true, false, true, true]),
            ("token-service", [false, false, true, true]),
        ];
        for (caller, allowed) in expected {
            for (call, allowed) in Call::ALL.into_iter().zip(allowed) {
                assert_eq!(
                    Caller::named(caller).check(call).is_ok(),
                    allowed,
                    "{caller} {call:?}"
                );
            }
        }
    }

    #[test]
    fn every_cell_of_keys() {
        let keys = [
            "/registry/pods/a",
            "/registry/health",
            "compact_rev_key",
            "/sextant/token-service/x",
            "/sextant/supervisor/x",
            "/sextant/cert-authority/x",
            "/registry",
            "compact_rev_key0",
        ];
        let expected = [
            ("admin", "........"),
            ("cert-authority", ".....x.."),
            ("kube-apiserver", "xxx....."),
            ("local", "xxxxxxxx"),
            ("supervisor", "....x..."),
            ("token-service", "...x...."),
        ];
        for (caller, allowed) in expected {
            for (key, allowed) in keys.into_iter().zip(allowed.chars()) {
                let clipped = Caller::named(caller).clip(&range(key, ""));
                assert_eq!(clipped.is_ok(), allowed == 'x', "{caller} {key}");
            }
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let list = |names: &[&[u8]], after: &str| -> Vec<String> {
            names
                .iter()
                .map(|name| format!("`{}`{after}", name.escape_ascii()))
                .collect()
        };
        let mut page = "| caller | calls | keys |\n| --- | --- | --- |\n".to_owned();
        for grant in TABLE.iter().filter(|grant| grant.caller != LOCAL) {
            let calls: Vec<_> = grant.calls.iter().map(|call| call.describe()).collect();
            let keys = [list(grant.prefixes, " and below"), list(grant.keys, "")].concat();
            let keys = if keys.is_empty() {
                "–".to_owned()
            } else {
                keys.join(", ")
            };
            page += &format!("| {} | {} | {keys} |\n", grant.caller, calls.join("; "));
        }
        sextant_testkit::documented("authorization.md", "keys", &page);
    }

    #[test]
    fn ranges_are_cut() {
        let tokens = Caller::named("token-service");
        let own = KeyRange::prefix(b"/sextant/token-service/");
        assert_eq!(tokens.clip(&range("\0", "\0")), Ok(own.clone()));
        assert_eq!(tokens.clip(&range("/sextant/", "/sextant0")), Ok(own));
        assert!(tokens.clip(&range("/sextant/u", "\0")).is_err());
        assert!(
            Caller::named("kube-apiserver")
                .clip(&range("\0", "\0"))
                .is_err()
        );
    }
}
