//! Clients that each send one request after the other.

use crate::figures::{Better, Figures, Times};
use crate::server::{self, Server};
use crate::shape;
use anyhow::{Result, bail};
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::kv_client::KvClient;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a new object.
    Create,
    /// Deletes its newest object.
    Delete,
    /// Reads its objects in turn.
    Get,
    /// Updates its objects in turn.
    Update,
}

/// One client with the objects that it made.
pub struct Client {
    kv: KvClient<Channel>,
    prefix: String,
    objects: Vec<(Bytes, i64)>,
    next: usize,
}

/// Clients on shared connections, ten on each as with kube-apiserver's many resources.
pub async fn clients(server: &Server, count: usize, prefix: &str) -> Result<Vec<Client>> {
    let mut channels = Vec::new();
    for _ in 0..count.div_ceil(10) {
        channels.push(server.connect().await?);
    }
    let client = |(number, channel): (usize, &Channel)| Client {
        kv: server::kv(channel.clone()),
        prefix: format!("{prefix}{number:04}/"),
        objects: Vec::new(),
        next: 0,
    };
    Ok((0..count)
        .zip(channels.iter().cycle())
        .map(client)
        .collect())
}

impl Client {
    /// Does `op` once; `false` when there is no object to do it with.
    pub async fn once(&mut self, op: Op) -> Result<bool, Status> {
        if op == Op::Create {
            return self.create().await;
        }
        if self.objects.is_empty() {
            return Ok(false);
        }
        let at = self.next % self.objects.len();
        self.next += 1;
        let Some((key, revision)) = self.objects.get_mut(at) else {
            return Ok(false);
        };
        match op {
            Op::Create => {}
            Op::Delete => {
                done(
                    self.kv
                        .txn(shape::delete(key, *revision))
                        .await?
                        .into_inner(),
                )?;
                self.objects.swap_remove(at);
            }
            Op::Get => {
                let found = self.kv.range(shape::get(key)).await?.into_inner();
                if found.kvs.len() != 1 {
                    return Err(Status::data_loss(format!("{key:?} is not there")));
                }
            }
            Op::Update => {
                let value = shape::value(self.next as u64);
                let update = shape::update(key, *revision, value);
                *revision = done(self.kv.txn(update).await?.into_inner())?;
            }
        }
        Ok(true)
    }

    async fn create(&mut self) -> Result<bool, Status> {
        let key = Bytes::from(format!("{}{:08}", self.prefix, self.next));
        let create = shape::create(&key, shape::value(self.next as u64));
        self.next += 1;
        let revision = done(self.kv.txn(create).await?.into_inner())?;
        self.objects.push((key, revision));
        Ok(true)
    }
}

/// The revision of a transaction whose condition must have held: no one else writes these keys.
fn done(answer: pb::TxnResponse) -> Result<i64, Status> {
    match answer.header {
        Some(header) if answer.succeeded => Ok(header.revision),
        _ => Err(Status::data_loss("a condition that holds was refused")),
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of all requests.
    pub times: Times,
    /// Requests per second.
    pub rate: f64,
    /// Requests that failed, and how the first of them did.
    pub errors: usize,
    first_error: Option<Status>,
}

/// All clients do `op` for a while, or `each` times if that is sooner.
pub async fn run(
    clients: Vec<Client>,
    op: Op,
    length: Duration,
    each: usize,
) -> Result<(Vec<Client>, Outcome)> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut times = Vec::new();
            let mut errors = Vec::new();
            while began.elapsed() < length && times.len() + errors.len() < each {
                let started = Instant::now();
                match client.once(op).await {
                    Ok(true) => times.push(started.elapsed().as_secs_f64() * 1e3),
                    Ok(false) => break,
                    Err(status) => errors.push(status),
                }
            }
            (client, times, errors)
        });
    }
    let mut clients = Vec::new();
    let (mut times, mut errors) = (Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (client, its_times, its_errors) = ended?;
        clients.push(client);
        times.extend(its_times);
        errors.extend(its_errors);
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    let outcome = Outcome {
        times: Times::of(times),
        rate,
        errors: errors.len(),
        first_error: errors.into_iter().next(),
    };
    Ok((clients, outcome))
}

/// Makes `count` objects below `prefix`.
pub async fn fill(server: &Server, prefix: &str, count: usize) -> Result<()> {
    let writers = 200.min(count);
    let each = count.div_ceil(writers);
    let clients = clients(server, writers, prefix).await?;
    let (_, outcome) = run(clients, Op::Create, Duration::MAX, each).await?;
    if let Some(error) = outcome.first_error {
        bail!("filling {}: {error}", server.kind);
    }
    Ok(())
}

impl Outcome {
    /// Of requests that all worked.
    pub fn of(milliseconds: Vec<f64>, length: Duration) -> Self {
        Self {
            rate: milliseconds.len() as f64 / length.as_secs_f64(),
            times: Times::of(milliseconds),
            ..Self::default()
        }
    }

    /// Writes it down under `name`.
    pub fn add(&self, name: &str, server: &Server, figures: &mut Figures) {
        let kind = server.kind;
        figures.add(
            &format!("{name}: rate"),
            "1/s",
            Better::Higher,
            kind,
            self.rate,
        );
        for (label, part) in [("p50", 0.5), ("p99", 0.99)] {
            let name = format!("{name}: {label}");
            figures.add(&name, "ms", Better::Lower, kind, self.times.part(part));
        }
        figures.add(
            &format!("{name}: errors"),
            "",
            Better::Lower,
            kind,
            self.errors as f64,
        );
        if let Some(error) = &self.first_error {
            eprintln!(
                "  {kind}, {name}: {} errors, the first: {error}",
                self.errors
            );
        }
    }
}
