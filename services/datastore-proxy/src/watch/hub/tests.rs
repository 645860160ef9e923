//! Model: a log is a list of revisions, and a watch is told what of it lies in its range from its start on. However
//! late and in whatever portions the hub hears of the log, that is what comes out.

use super::*;
use crate::domain::version::Version;
use proptest::prelude::*;

/// Revisions and which of their keys, with gaps where nothing concerned this hub.
type Log = Vec<(i64, Vec<u8>)>;

#[derive(Clone, Debug)]
enum Action {
    /// A watch of the keys from `.0` to `.1`, that starts at this share of the log or, without one, now.
    Add(u8, u8, Option<u8>),
    /// Something happens, so many revisions after what happened last.
    Commit(u8, Vec<u8>),
    /// A client reads what there is for it, so many revisions at a time where it lags.
    Drain(u8),
    /// A report of progress is asked for.
    Progress,
    /// The hub hears of this many revisions, after some that it has heard of already.
    Publish(u8, u8),
    /// The hub hears that there is nothing more.
    Reached,
    /// The hub is told to go on without what it hasn't heard of.
    Reset,
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0..6_u8;
    prop_oneof![
        2 => (key.clone(), 0..7_u8, any::<Option<u8>>()).prop_map(|(a, b, s)| Action::Add(a, b, s)),
        6 => (1..4_u8, prop::collection::vec(key, 1..4)).prop_map(|(gap, keys)| Action::Commit(gap, keys)),
        2 => (1..4_u8).prop_map(Action::Drain),
        1 => Just(Action::Progress),
        4 => (0..3_u8, 1..5_u8).prop_map(|(again, new)| Action::Publish(again, new)),
        1 => Just(Action::Reached),
        1 => Just(Action::Reset),
    ]
}

fn committed((revision, keys): &(i64, Vec<u8>)) -> Committed {
    let version = Version {
        row: 0,
        mod_revision: *revision,
        create_revision: *revision,
        version: 1,
        lease: 0,
    };
    let change = |key: &u8| Change::of(vec![*key].into(), &version, "v".into(), None);
    Committed {
        revision: *revision,
        changes: keys.iter().map(change).collect(),
    }
}

struct Client {
    hub_key: u64,
    range: KeyRange,
    start: i64,
    told: Vec<(i64, u8)>,
}

/// A hub, the log that it hears of late, and one stream with all watches.
struct World {
    log: Log,
    heard: usize,
    hub: Hub,
    outbox: Arc<Outbox>,
    clients: Vec<Client>,
}

impl World {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            heard: 0,
            hub: Hub::new(1),
            outbox: Arc::default(),
            clients: Vec::new(),
        }
    }

    fn newest(&self) -> i64 {
        self.log.last().map_or(1, |(revision, _)| *revision)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Add(from, to, start) => self.add(from, to, start),
            Action::Commit(gap, keys) => {
                let revision = self.newest() + i64::from(gap);
                self.log.push((revision, keys));
            }
            Action::Drain(step) => self.drain(step.into()),
            Action::Progress => {
                let keys: Vec<u64> = self.clients.iter().map(|client| client.hub_key).collect();
                // The id says which watches it speaks of: later ones begin later.
                let id = i64::try_from(keys.len()).unwrap();
                self.hub.progress(&self.outbox, keys.into_iter(), id);
            }
            Action::Publish(again, new) => {
                let from = self.heard.saturating_sub(again.into());
                self.heard = self.log.len().min(self.heard + usize::from(new));
                self.hub
                    .publish(self.log[from..self.heard].iter().map(committed));
            }
            Action::Reached if self.heard == self.log.len() => self.hub.reached(self.newest()),
            Action::Reached => {}
            Action::Reset => {
                self.heard = self.log.len();
                self.hub.reset(self.newest());
            }
        }
    }

    fn add(&mut self, from: u8, to: u8, start: Option<u8>) {
        let newest = self.newest();
        let start = start.map_or(0, |share| 1 + newest * i64::from(share) / 256);
        let id = i64::try_from(self.clients.len()).unwrap();
        let range = KeyRange::parse(vec![from].into(), vec![to].into());
        let spec = Spec {
            id,
            range: range.clone(),
            no_put: false,
            no_delete: false,
            prev_kv: false,
            fragment: false,
        };
        let hub_key = self.hub.add_after(&self.outbox, spec, start, newest);
        let start = if start == 0 { newest + 1 } else { start };
        self.clients.push(Client {
            hub_key,
            range,
            start,
            told: Vec::new(),
        });
    }

    /// Does what the task of a stream does.
    fn drain(&mut self, step: usize) {
        loop {
            while let Some(out) = self.outbox.pop() {
                self.say(out);
            }
            let Some(key) = self.outbox.next_lagging() else {
                return;
            };
            match self.hub.catch_up(key) {
                CatchUp::Nothing => {}
                CatchUp::Send {
                    spec, revisions, ..
                } => {
                    for (committed, picked) in revisions {
                        self.tell(&spec, &committed, &picked);
                    }
                }
                CatchUp::Read {
                    spec,
                    from,
                    through,
                } => {
                    let log = self.log.clone();
                    let missed = log
                        .iter()
                        .filter(|(revision, _)| (from..=through).contains(revision));
                    let page: Vec<_> = missed.take(step).collect();
                    let is_all = page.len() < step;
                    for committed in page.iter().map(|revision| committed(revision)) {
                        let picked = pick(&spec, &committed);
                        self.tell(&spec, &committed, &picked);
                    }
                    let last = page.last().map_or(through, |(revision, _)| *revision);
                    self.hub.advance(key, if is_all { through } else { last });
                }
            }
        }
    }

    fn say(&mut self, out: Out) {
        match out {
            Out::Events {
                spec,
                committed,
                picked,
            } => self.tell(&spec, &committed, &picked),
            Out::Progress { id, revision } => {
                for client in &self.clients[..usize::try_from(id).unwrap()] {
                    assert_eq!(
                        client.told,
                        self.expected(client, revision),
                        "progress overtook"
                    );
                }
            }
            Out::Canceled { .. } | Out::Created { .. } => {}
        }
    }

    fn tell(&mut self, spec: &Spec, committed: &Committed, picked: &[usize]) {
        let client = &mut self.clients[usize::try_from(spec.id).unwrap()];
        for at in picked {
            client
                .told
                .push((committed.revision, committed.changes[*at].kv.key[0]));
        }
    }

    fn expected(&self, client: &Client, through: i64) -> Vec<(i64, u8)> {
        let told = |(revision, keys): &(i64, Vec<u8>)| {
            let own = keys.iter().filter(|key| client.range.contains(&[**key]));
            let revision = *revision;
            own.map(move |key| (revision, *key)).collect::<Vec<_>>()
        };
        let revisions = self.log.iter();
        let revisions = revisions.filter(|(at, _)| (client.start..=through).contains(at));
        revisions.flat_map(told).collect()
    }
}

proptest! {
    #[test]
    fn watches_are_told_what_the_log_says(
        actions in prop::collection::vec(action(), 1..80),
        step in 1..4_usize,
    ) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        world.act(Action::Publish(9, u8::MAX));
        world.drain(step);
        for client in &world.clients {
            prop_assert_eq!(&client.told, &world.expected(client, i64::MAX), "from {}", client.start);
        }
        let (_, lagging) = world.hub.len();
        prop_assert_eq!(lagging, 0);
    }
}
