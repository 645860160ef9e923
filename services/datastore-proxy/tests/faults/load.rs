//! Clients that write, read and watch whatever happens, and note down what they saw.

use crate::history::{History, Outcome, Read, Time, Watch, Write};
use crate::support::{Clients, prefix_end};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::TargetUnion;
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use sextant_proto::etcd::etcdserverpb::response_op::Response;
use sextant_proto::etcd::mvccpb::KeyValue;
use sextant_testkit::eventually;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::{Code, Status};

const WRITERS: u64 = 4;
const READERS: u64 = 2;
const KEYS: u32 = 6;
/// After that long a client gives up, and knows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long a client leaves a server alone that does not answer.
const PAUSE: Duration = Duration::from_millis(20);

/// What clients share.
#[derive(Clone)]
pub(crate) struct Notes {
    began: Instant,
    history: Arc<Mutex<History>>,
}

impl Notes {
    pub(crate) fn now(&self) -> Time {
        self.began.elapsed().as_nanos().try_into().unwrap()
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut History)) {
        note(&mut self.history.lock().unwrap());
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        let history = self.history.lock().unwrap();
        history
            .writes
            .iter()
            .filter(|write| is(&write.outcome))
            .count()
    }
}

/// Clients at work.
pub struct Load {
    notes: Notes,
    stop: watch::Sender<bool>,
    /// The revision that watches must reach before they end.
    through: watch::Sender<Option<i64>>,
    callers: Vec<tokio::task::JoinHandle<()>>,
    watchers: Vec<tokio::task::JoinHandle<()>>,
    url: String,
}

impl Load {
    pub fn start(url: &str, seed: u64) -> Self {
        Self::start_on(&[url.to_owned()], seed)
    }

    /// Clients of several servers, each of one of them. The first one serves at the end.
    pub fn start_on(urls: &[String], seed: u64) -> Self {
        println!("seed {seed}");
        let url = |number: u64| &urls[usize::try_from(number).unwrap() % urls.len()];
        let notes = Notes {
            began: Instant::now(),
            history: Arc::default(),
        };
        let stop = watch::Sender::new(false);
        let through = watch::Sender::new(None);
        let client = |number| Client {
            number,
            clients: connect(url(number)),
            notes: notes.clone(),
            rng: StdRng::seed_from_u64(seed * 100 + number),
            known: vec![0; KEYS as usize],
            newest: 1,
            stop: stop.subscribe(),
        };
        let mut callers: Vec<_> = (0..WRITERS)
            .map(|number| tokio::spawn(client(number).write()))
            .collect();
        callers
            .extend((WRITERS..WRITERS + READERS).map(|number| tokio::spawn(client(number).read())));
        let watchers = [
            ("", false, true),
            ("/k/", false, true),
            ("/k/", true, false),
        ];
        let mut turn = 0;
        let watchers = watchers.map(|(prefix, no_put, prev_kv)| {
            turn += 1;
            let watch = Watch {
                prefix,
                start: 2,
                no_put,
                prev_kv,
                answers: Vec::new(),
            };
            tokio::spawn(crate::watcher::run(
                watch,
                connect(url(turn)),
                notes.clone(),
                through.subscribe(),
            ))
        });
        Self {
            notes,
            stop,
            through,
            callers,
            watchers: watchers.into(),
            url: urls[0].clone(),
        }
    }

    /// Waits until `more` further writes are acknowledged.
    pub async fn progress(&self, more: usize) {
        self.wait_for("acknowledged writes", more, |outcome| {
            matches!(outcome, Outcome::Committed(_))
        })
        .await;
    }

    /// Waits until `more` further writes have got no answer.
    pub async fn silence(&self, more: usize) {
        self.wait_for("writes without an answer", more, |outcome| {
            *outcome == Outcome::Unknown
        })
        .await;
    }

    /// Waits until `more` further writes were refused.
    pub async fn refusals(&self, more: usize) {
        self.wait_for("refused writes", more, |outcome| {
            *outcome == Outcome::Refused
        })
        .await;
    }

    async fn wait_for(&self, what: &str, more: usize, is: fn(&Outcome) -> bool) {
        let wanted = self.notes.count(is) + more;
        eventually(Duration::from_secs(60), what, || async {
            let counted = self.notes.count(is);
            if counted >= wanted {
                Ok(())
            } else {
                Err(format!("{counted} of {wanted}"))
            }
        })
        .await;
    }

    /// Ends it, against a server that serves, and returns what was seen.
    pub async fn finish(self) -> History {
        self.stop.send_replace(true);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let clients = connect(&self.url);
        let newest = eventually(Duration::from_secs(20), "the newest revision", || {
            let mut kv = clients.kv.clone();
            async move {
                let answer = kv.range(range("", 0)).await?.into_inner();
                Ok::<_, Status>(answer.header.unwrap().revision)
            }
        })
        .await;
        self.through.send_replace(Some(newest));
        for (number, watcher) in self.watchers.into_iter().enumerate() {
            let heard = tokio::time::timeout(Duration::from_secs(60), watcher).await;
            let missing = || format!("watch {number} doesn't hear of revision {newest}");
            heard.unwrap_or_else(|_| panic!("{}", missing())).unwrap();
        }
        let log = crate::watcher::log(&clients, newest).await;
        let mut history = std::mem::take(&mut *self.notes.history.lock().unwrap());
        history.log = log;
        history
    }
}

fn connect(url: &str) -> Clients {
    let endpoint = tonic::transport::Channel::from_shared(url.to_owned()).unwrap();
    Clients::over(endpoint.connect_timeout(PATIENCE).connect_lazy())
}

fn range(prefix: &str, revision: i64) -> pb::RangeRequest {
    let all = || Bytes::from_static(b"\0");
    let (key, range_end) = match prefix {
        "" => (all(), all()),
        prefix => (prefix.to_owned().into(), prefix_end(prefix).into()),
    };
    pb::RangeRequest {
        key,
        range_end,
        revision,
        ..pb::RangeRequest::default()
    }
}

struct Client {
    number: u64,
    clients: Clients,
    notes: Notes,
    rng: StdRng,
    /// The revisions of keys, as far as this client knows.
    known: Vec<i64>,
    newest: i64,
    stop: watch::Receiver<bool>,
}

impl Client {
    async fn write(mut self) {
        for number in 0_u64.. {
            if *self.stop.borrow() {
                return;
            }
            let write = self.next_write(number);
            let request = request(&write);
            let asked = self.clients.kv.txn(request);
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            let ended = self.notes.now();
            let outcome = outcome(answer, &write);
            self.learn(&write, &outcome);
            let is_silent = matches!(outcome, Outcome::Refused | Outcome::Unknown);
            self.notes.note(|history| {
                history.writes.push(Write {
                    ended,
                    outcome,
                    ..write
                });
            });
            if is_silent {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Puts a key, or puts or deletes it if it is as this client knows it; a second key tells whose write it is.
    fn next_write(&mut self, number: u64) -> Write {
        let at = self.rng.random_range(0..KEYS);
        let key = Bytes::from(format!("/k/{at}"));
        let own = Bytes::from(format!("/own/{}", self.number));
        let id = format!("{}-{number}", self.number);
        let mut puts = vec![(own, Bytes::from(id.clone()))];
        let mut deletes = Vec::new();
        let is_conditional = self.rng.random_ratio(2, 3);
        if is_conditional && self.rng.random_ratio(1, 4) && self.known[at as usize] > 0 {
            deletes.push(key.clone());
        } else {
            // Some values are large enough to be split over frames, pages and packets.
            let size = if self.rng.random_ratio(1, 20) {
                30_000
            } else {
                10
            };
            puts.push((key.clone(), format!("{id}-{}", "v".repeat(size)).into()));
        }
        let condition = is_conditional.then(|| (key, self.known[at as usize]));
        Write {
            begun: self.notes.now(),
            ended: 0,
            compares: condition.into_iter().collect(),
            puts,
            deletes,
            outcome: Outcome::Unknown,
        }
    }

    fn learn(&mut self, write: &Write, outcome: &Outcome) {
        let mut learn = |key: &Bytes, revision| {
            let number = key
                .strip_prefix(b"/k/")
                .and_then(|text| std::str::from_utf8(text).ok());
            if let Some(at) = number.and_then(|text| text.parse::<usize>().ok()) {
                self.known[at] = revision;
            }
        };
        match outcome {
            Outcome::Committed(revision) => {
                write.puts.iter().for_each(|(key, _)| learn(key, *revision));
                write.deletes.iter().for_each(|key| learn(key, 0));
            }
            Outcome::Conflict(_, kvs) => {
                write.compares.iter().for_each(|(key, _)| learn(key, 0));
                kvs.iter().for_each(|kv| learn(&kv.key, kv.mod_revision));
            }
            Outcome::Refused | Outcome::Unknown => {}
        }
    }

    async fn read(mut self) {
        while !*self.stop.borrow() {
            let prefix = if self.rng.random() { "/k/" } else { "" };
            let at = match self.rng.random_ratio(1, 3) {
                true => self.rng.random_range(1..=self.newest),
                false => 0,
            };
            let begun = self.notes.now();
            let asked = self.clients.kv.range(range(prefix, at));
            let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, asked).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let answer = answer.into_inner();
            assert_eq!(usize::try_from(answer.count).unwrap(), answer.kvs.len());
            let revision = answer.header.unwrap().revision;
            self.newest = revision;
            let ended = self.notes.now();
            self.notes.note(|history| {
                history.reads.push(Read {
                    begun,
                    ended,
                    prefix,
                    at,
                    revision,
                    kvs: answer.kvs,
                });
            });
        }
    }
}

fn request(write: &Write) -> pb::TxnRequest {
    let op = |request| pb::RequestOp {
        request: Some(request),
    };
    let puts = write.puts.iter().map(|(key, value)| {
        op(Request::RequestPut(pb::PutRequest {
            key: key.clone(),
            value: value.clone(),
            ..pb::PutRequest::default()
        }))
    });
    let deletes = write.deletes.iter().map(|key| {
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key: key.clone(),
            ..pb::DeleteRangeRequest::default()
        }))
    });
    let reads = write.compares.iter().map(|(key, _)| {
        op(Request::RequestRange(pb::RangeRequest {
            key: key.clone(),
            ..pb::RangeRequest::default()
        }))
    });
    let compares = write.compares.iter().map(|(key, revision)| pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Mod.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::ModRevision(*revision)),
    });
    pb::TxnRequest {
        compare: compares.collect(),
        success: puts.chain(deletes).collect(),
        failure: reads.collect(),
    }
}

type Answer = Result<Result<tonic::Response<pb::TxnResponse>, Status>, tokio::time::error::Elapsed>;

fn outcome(answer: Answer, write: &Write) -> Outcome {
    let answer = match answer {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) if status.code() == Code::ResourceExhausted => return Outcome::Refused,
        Ok(Err(_)) | Err(_) => return Outcome::Unknown,
    };
    let revision = answer.header.unwrap().revision;
    if answer.succeeded {
        assert_eq!(
            answer.responses.len(),
            write.puts.len() + write.deletes.len()
        );
        return Outcome::Committed(revision);
    }
    let found = answer
        .responses
        .into_iter()
        .flat_map(|op| match op.response {
            Some(Response::ResponseRange(response)) => response.kvs,
            other => panic!("no read: {other:?}"),
        });
    Outcome::Conflict(revision, found.collect::<Vec<KeyValue>>())
}
