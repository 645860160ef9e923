//! `bench-telemetry`: what it costs that everything is exported. Two control planes, one that exports all traces, logs and
//! metrics to a collector and one that exports nothing, do the same work at the same time, so that whatever else the
//! machine does is in both.

use crate::part::Part;
use crate::plane::Plane;
use anyhow::{Context as _, Result};
use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use sextant_identity::{Channel, Peer, ServiceName};
use sextant_proto::kms::EncryptRequest;
use sextant_proto::kms::key_management_service_client::KeyManagementServiceClient;
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::{CreateTokenRequest, ListNodesRequest, ListTokensRequest};
use sextant_testkit::Collector;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const OBJECTS: usize = 2_000;
/// Objects come at this pace, whatever the answers take: both sides have the same work in the same time. In a closed loop
/// the slower one would also commit fewer requests at once, and its disk would be measured.
const PACE: Duration = Duration::from_millis(4);
/// One call of each other kind for so many objects.
const EVERY: usize = 4;
/// Spans are exported every 5 s at the latest: what a round caused is its own.
const EXPORTED: Duration = Duration::from_secs(6);

/// What one plane has spent.
#[derive(Default)]
struct Spent {
    cpu: BTreeMap<Part, Vec<Duration>>,
    slowest: Vec<Duration>,
    resident: BTreeMap<Part, f64>,
}

struct Side {
    plane: Plane,
    admin: AdminClient<Channel>,
    kms: KeyManagementServiceClient<Channel>,
    datastore: etcd_client::Client,
    spent: Spent,
    keys: usize,
}

/// Measures in so many rounds, after one that doesn't count, and prints a table.
pub async fn run(rounds: usize) -> Result<()> {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let mut off = Side::start(Vec::new()).await?;
    let exporting = vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)];
    let mut on = Side::start(exporting).await?;
    for round in 0..=rounds {
        // Objects of one come between those of the other, each the first in half of the rounds.
        let (first, second) = match round % 2 {
            0 => (&mut off, &mut on),
            _ => (&mut on, &mut off),
        };
        tokio::try_join!(
            first.turn(Duration::ZERO, round > 0),
            second.turn(PACE / 2, round > 0),
        )?;
        collector.forget();
    }
    for side in [&mut off, &mut on] {
        side.weigh()?;
    }
    println!(
        "{rounds} rounds, each {OBJECTS} objects, one each {PACE:?}, and {} calls of each kind; medians\n",
        OBJECTS / EVERY,
    );
    print(&off.spent, &on.spent)
}

impl Side {
    async fn start(environment: Vec<(String, String)>) -> Result<Self> {
        let mut plane = Plane::new()?;
        plane.environment = environment;
        plane.start_all()?;
        plane.all_ready().await?;
        let admin = plane.admin().await?;
        let mesh = plane.enrol("kube-apiserver").await?;
        let address = plane.address(Part::CertAuthority).to_string();
        let channel = mesh.channel(&address, Peer::Service(ServiceName::CertAuthority));
        Ok(Self {
            admin,
            kms: KeyManagementServiceClient::new(channel),
            datastore: plane.datastore_client("kube-apiserver").await?,
            plane,
            spent: Spent::default(),
            keys: 0,
        })
    }

    async fn turn(&mut self, delay: Duration, counts: bool) -> Result<()> {
        tokio::time::sleep(delay).await;
        let mut before = BTreeMap::new();
        for part in Part::ALL {
            before.insert(part, cpu(self.plane.pid(part)?)?);
        }
        let slowest = self.work().await?;
        tokio::time::sleep(EXPORTED).await;
        if !counts {
            return Ok(());
        }
        self.spent.slowest.push(slowest);
        for (part, before) in before {
            let spent = cpu(self.plane.pid(part)?)?.saturating_sub(before);
            self.spent.cpu.entry(part).or_default().push(spent);
        }
        Ok(())
    }

    /// Gives what 99 of 100 writes took at most.
    async fn work(&mut self) -> Result<Duration> {
        let mut ticks = tokio::time::interval(PACE);
        let mut writes = JoinSet::new();
        let mut calls = JoinSet::new();
        for number in 0..OBJECTS {
            ticks.tick().await;
            writes.spawn(write(self.datastore.clone(), self.keys + number));
            if number % EVERY == 0 {
                let (kms, admin) = (self.kms.clone(), self.admin.clone());
                calls.spawn(call(kms, admin, number / EVERY));
            }
        }
        self.keys += OBJECTS;
        let taken = writes.join_all().await;
        let mut taken = taken.into_iter().collect::<Result<Vec<_>>>()?;
        taken.sort_unstable();
        calls.join_all().await.into_iter().collect::<Result<()>>()?;
        self.admin.list_tokens(ListTokensRequest {}).await?;
        Ok(taken[taken.len() * 99 / 100])
    }

    fn weigh(&mut self) -> Result<()> {
        for part in Part::ALL {
            let resident = resident(self.plane.pid(part)?)?;
            self.spent.resident.insert(part, resident);
        }
        Ok(())
    }
}

/// Creates an object and reads it. Gives how long the first took.
async fn write(mut datastore: etcd_client::Client, number: usize) -> Result<Duration> {
    let key = format!("/registry/configmaps/default/{number}");
    let started = Instant::now();
    let create = Txn::new()
        .when([Compare::mod_revision(&*key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(&*key, "x".repeat(500), None)]);
    datastore.txn(create).await?;
    let took = started.elapsed();
    datastore.get(&*key, None).await?;
    Ok(took)
}

/// One call of each kind.
async fn call(
    mut kms: KeyManagementServiceClient<Channel>,
    mut admin: AdminClient<Channel>,
    number: usize,
) -> Result<()> {
    let request = EncryptRequest {
        plaintext: "a key of Kubernetes'".into(),
        uid: number.to_string(),
    };
    kms.encrypt(request).await?;
    admin.list_nodes(ListNodesRequest {}).await?;
    if number.is_multiple_of(10) {
        let request = CreateTokenRequest {
            ttl_seconds: 1,
            ..CreateTokenRequest::default()
        };
        admin.create_token(request).await?;
    } else {
        let id = "aaaaaaaaaa".to_owned();
        let unknown = sextant_proto::supervisor::RevokeTokenRequest { id };
        // There is no such token: a read of one key, and an answer.
        let _ = admin.revoke_token(unknown).await;
    }
    Ok(())
}

fn print(off: &Spent, on: &Spent) -> Result<()> {
    println!(
        "| service | CPU off, ms | CPU on, ms | ratio | half of the ratios | RSS off, MiB | RSS on, MiB | more, MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for part in Part::ALL {
        let (cpu_off, cpu_on) = (median(&off.cpu[&part])?, median(&on.cpu[&part])?);
        let pairs = off.cpu[&part].iter().zip(&on.cpu[&part]);
        let mut ratios: Vec<f64> = pairs
            .map(|(off, on)| on.as_secs_f64() / off.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = |share: usize| ratios[ratios.len() * share / 4];
        let (rss_off, rss_on) = (off.resident[&part], on.resident[&part]);
        println!(
            "| {} | {:.1} | {:.1} | {:.3} | {:.3} to {:.3} | {rss_off:.1} | {rss_on:.1} | {:.1} |",
            part.name(),
            cpu_off.as_secs_f64() * 1e3,
            cpu_on.as_secs_f64() * 1e3,
            ratio(2),
            ratio(1),
            ratio(3),
            rss_on - rss_off,
        );
    }
    let ms = |times: &[Duration]| anyhow::Ok(median(times)?.as_secs_f64() * 1e3);
    println!(
        "\n99 of 100 writes took at most {:.1} ms without telemetry, {:.1} ms with it",
        ms(&off.slowest)?,
        ms(&on.slowest)?,
    );
    Ok(())
}

fn median(times: &[Duration]) -> Result<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no rounds")
}

/// Processor time of all threads that a process has.
fn cpu(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let spent = text.split_whitespace().next();
        nanoseconds += spent.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// MiB.
fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.context("no VmRSS")?.parse::<f64>()? / 1024.0)
}
