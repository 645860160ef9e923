//! Our table in the kernel: committing changes, comparing, removing.

use super::consts::*;
use super::decode::{self, Observed};
use super::encode::encode;
use super::message::Message;
use super::socket::NetfilterSocket;
use crate::domain::diff::{Op, Plan, diff};
use crate::domain::ruleset::{Ruleset, TABLE};
use crate::error::{Error, Result};
use crate::nft::attribute;
use netlink_packet_core::NLM_F_DUMP;
use nix::errno::Errno;

/// Largest part of a plan in one transaction, in bytes of messages. A transaction holds a lock that kube-proxy
/// needs too.
const CHUNK: usize = 256 * 1024;
/// How often a comparison is tried anew because somebody changed some table meanwhile.
const ATTEMPTS: u32 = 20;

/// What a change cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Netlink messages.
    pub messages: usize,
    /// Transactions.
    pub commits: usize,
}

/// The table.
pub struct Kernel {
    socket: NetfilterSocket,
    set_id: u32,
}

impl Kernel {
    /// Speaks to the kernel in the network namespace of the calling thread.
    pub fn open() -> Result<Self> {
        Ok(Self {
            socket: NetfilterSocket::open()?,
            set_id: 0,
        })
    }

    /// The port of the socket that makes the changes.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Carries out a plan. An error leaves what was committed before it; compare after one.
    pub fn commit(&mut self, plan: &Plan) -> Result<Cost> {
        self.commit_at(plan, None)
    }

    /// Compares the kernel's table with `wanted` and makes it so, whatever was there before.
    pub fn enforce(&mut self, wanted: &Ruleset) -> Result<(Plan, Cost)> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let Some(found) = self.observe(wanted)? else {
                continue;
            };
            let plan = match &found {
                Found::Nothing => diff(None, wanted),
                Found::Table(ruleset) => diff(Some(ruleset), wanted),
                Found::Foreign => {
                    let mut plan = Plan::default();
                    plan.switch.push(Op::DeleteTable);
                    plan.switch.extend(diff(None, wanted).ops().cloned());
                    plan
                }
            };
            match self.commit_at(&plan, Some(generation)) {
                Ok(cost) => return Ok((plan, cost)),
                Err(error) if is(&error, Errno::ERESTART) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended(ATTEMPTS))
    }

    /// What differs between the kernel's table and `wanted`; `None` if it can't be read in peace.
    pub fn compare(&mut self, wanted: &Ruleset) -> Result<Option<Plan>> {
        Ok(match self.observe(wanted)? {
            None => None,
            Some(Found::Table(ruleset)) => Some(diff(Some(&ruleset), wanted)),
            Some(Found::Nothing | Found::Foreign) => Some(diff(None, wanted)),
        })
    }

    /// Removes the table; `false` if there was none.
    pub fn remove(&mut self) -> Result<bool> {
        let messages = encode([&Op::DeleteTable], &mut self.set_id);
        match self.socket.commit("removing the table", messages, None) {
            Ok(()) => Ok(true),
            Err(error) if is(&error, Errno::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn commit_at(&mut self, plan: &Plan, mut generation: Option<u32>) -> Result<Cost> {
        let prepare = encode(&plan.prepare, &mut self.set_id);
        let switch = encode(&plan.switch, &mut self.set_id);
        let collect = encode(&plan.collect, &mut self.set_id);
        let mut cost = Cost::default();
        for batch in batches(prepare, switch, collect) {
            cost.messages += batch.len();
            cost.commits += 1;
            self.socket
                .commit("a change of the table", batch, generation)?;
            // Only the first says that nothing changed since the comparison; then our own commits count too.
            generation = None;
        }
        Ok(cost)
    }

    fn generation(&mut self) -> Result<u32> {
        let question = Message::inet(NFT_MSG_GETGEN, 0, |_| {});
        let answer = self.socket.ask("reading the generation", question)?;
        Ok(attribute::be32(&answer, NFTA_GEN_ID).unwrap_or(0))
    }

    /// Reads the table; `None` if it changed meanwhile.
    fn observe(&mut self, known: &Ruleset) -> Result<Option<Found>> {
        let mut observed = Observed::default();
        let chains = Message::inet(NFT_MSG_GETCHAIN, NLM_F_DUMP, |a| {
            a.text(NFTA_CHAIN_TABLE, TABLE);
        });
        let mut found = false;
        let tables = Message::inet(NFT_MSG_GETTABLE, NLM_F_DUMP, |_| {});
        let mut calm = self.socket.dump("listing tables", tables, |attributes| {
            found |= attribute::text(attributes, NFTA_TABLE_NAME) == Some(TABLE);
        })?;
        if !found {
            return Ok(calm.then_some(Found::Nothing));
        }
        calm &= self.socket.dump("listing chains", chains, |attributes| {
            // Older kernels don't filter.
            if attribute::text(attributes, NFTA_CHAIN_TABLE) == Some(TABLE) {
                observed.chains.extend(decode::chain(attributes));
            }
        })?;
        let rules = Message::inet(NFT_MSG_GETRULE, NLM_F_DUMP, |a| {
            a.text(NFTA_RULE_TABLE, TABLE);
        });
        calm &= self.socket.dump("listing rules", rules, |attributes| {
            if attribute::text(attributes, NFTA_RULE_TABLE) == Some(TABLE) {
                observed.rules.extend(decode::rule(attributes));
            }
        })?;
        let sets = Message::inet(NFT_MSG_GETSET, NLM_F_DUMP, |a| {
            a.text(NFTA_SET_TABLE, TABLE);
        });
        calm &= self.socket.dump("listing sets", sets, |attributes| {
            let set = decode::set(attributes);
            observed
                .sets
                .extend(set.map(|(name, kind, map)| (name, kind, map, Vec::new())));
        })?;
        for (name, _, _, entries) in &mut observed.sets {
            let question = Message::inet(NFT_MSG_GETSETELEM, NLM_F_DUMP, |a| {
                a.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
                a.text(NFTA_SET_ELEM_LIST_SET, name);
            });
            let dumped = self
                .socket
                .dump("listing elements", question, |attributes| {
                    entries.extend(decode::entries(attributes));
                });
            match dumped {
                Ok(same) => calm &= same,
                Err(error) if is(&error, Errno::ENOENT) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let ruleset = || {
            observed
                .into_ruleset(known)
                .map_or(Found::Foreign, Found::Table)
        };
        Ok(calm.then(ruleset))
    }
}

enum Found {
    Nothing,
    Table(Ruleset),
    /// A table of our name with things in it that are none of ours.
    Foreign,
}

/// Whether the kernel refused for this reason.
pub fn is(error: &Error, errno: Errno) -> bool {
    matches!(error, Error::Refused { source, .. } if source.raw_os_error() == Some(errno as i32))
}

/// One transaction where that is short; else the parts without effect in pieces.
fn batches(
    prepare: Vec<Message>,
    mut switch: Vec<Message>,
    collect: Vec<Message>,
) -> Vec<Vec<Message>> {
    let size = |messages: &[Message]| messages.iter().map(Message::size).sum::<usize>();
    if size(&prepare) + size(&switch) + size(&collect) <= CHUNK {
        let mut all = prepare;
        all.append(&mut switch);
        all.extend(collect);
        return if all.is_empty() {
            Vec::new()
        } else {
            vec![all]
        };
    }
    let mut batches = chunks(prepare);
    if !switch.is_empty() {
        batches.push(switch);
    }
    batches.extend(chunks(collect));
    batches
}

fn chunks(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut chunks: Vec<Vec<Message>> = Vec::new();
    let mut room = 0;
    for message in messages {
        if message.size() > room {
            chunks.push(Vec::new());
            room = CHUNK;
        }
        room = room.saturating_sub(message.size());
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(message);
        }
    }
    chunks
}
