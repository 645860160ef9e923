//! The datastore away under a running cluster.

use anyhow::{Result, ensure};
use sextant_integration::{Api, Cluster, docker, eventually};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const AWAY: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(120);

/// Creates one object after the other, and remembers what the API said of each.
#[derive(Default)]
struct Writer {
    acknowledged: Mutex<BTreeSet<String>>,
    refused: Mutex<Vec<String>>,
    done: AtomicBool,
}

impl Writer {
    fn run(&self, cluster: &Cluster) {
        for number in 0.. {
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            let name = format!("written-{number}");
            let create = ["create", "configmap", &name, "--request-timeout=10s"];
            match cluster.kubectl(&create) {
                Ok(_) => lock(&self.acknowledged).insert(name),
                Err(error) => {
                    lock(&self.refused).push(format!("{error:#}"));
                    true
                }
            };
        }
    }

    fn acknowledged(&self) -> BTreeSet<String> {
        lock(&self.acknowledged).clone()
    }

    fn refused(&self) -> usize {
        lock(&self.refused).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub fn datastore_away_for_a_minute(cluster: &Cluster) -> Result<()> {
    let apiserver = apiserver_process(cluster)?;
    let writer = Writer::default();
    thread::scope(|scope| {
        scope.spawn(|| writer.run(cluster));
        let outcome = away_and_back(cluster, &writer);
        writer.done.store(true, Ordering::SeqCst);
        outcome
    })?;
    let kept = cluster.kubectl(&["get", "configmaps", "--output", "name"])?;
    let kept: BTreeSet<_> = kept
        .lines()
        .filter_map(|line| line.strip_prefix("configmap/"))
        .collect();
    let acknowledged = writer.acknowledged();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|name| !kept.contains(name.as_str()))
        .collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    ensure!(
        apiserver_process(cluster)? == apiserver,
        "kube-apiserver was restarted, which helps nobody"
    );
    eventually("controllers and nodes go on", SOON, || {
        cluster.kubectl(&["rollout", "restart", "deployment/web"])?;
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])
    })?;
    eventually("all parts ready", SOON, || {
        cluster.sextant(&["status"])?.ok()
    })?;
    Ok(())
}

/// Kills the datastore in the midst of writes, and starts it again after [`AWAY`].
fn away_and_back(cluster: &Cluster, writer: &Writer) -> Result<()> {
    eventually("a few writes", SOON, || {
        let written = writer.acknowledged().len();
        ensure!(written >= 3, "{written} so far");
        Ok(())
    })?;
    let datastore = &cluster.containers("datastore-proxy")?[0];
    // After this, Docker's restart policy doesn't apply: it stays away.
    docker(&["kill", datastore])?;
    let since = Instant::now();
    eventually("a refused write", SOON, || {
        ensure!(writer.refused() > 0, "none yet");
        Ok(())
    })?;
    let (before, refused) = (writer.acknowledged(), writer.refused());
    eventually("the minute to pass", AWAY + SOON, || {
        ensure!(since.elapsed() >= AWAY, "{:?} so far", since.elapsed());
        Ok(())
    })?;
    ensure!(
        writer.acknowledged() == before,
        "writes were acknowledged without a datastore"
    );
    ensure!(
        writer.refused() > refused,
        "writes hang instead of being refused"
    );
    docker(&["start", datastore])?;
    eventually("writes go on", SOON, || {
        let said = lock(&writer.refused).last().cloned();
        ensure!(writer.acknowledged().len() > before.len(), "{said:?}");
        Ok(())
    })
}

/// The process id of kube-apiserver as this machine sees it.
fn apiserver_process(cluster: &Cluster) -> Result<String> {
    let table = docker(&[
        "top",
        &cluster.containers("kube-apiserver")?[0],
        "-eo",
        "pid,comm",
    ])?;
    let line = table.lines().find(|line| line.contains("kube-apiserver"));
    let pid = line.and_then(|line| line.split_whitespace().next());
    pid.map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("no kube-apiserver among\n{table}"))
}
