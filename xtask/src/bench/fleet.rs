//! `bench-fleet`: control planes side by side in the dev cluster, one after the other until N of them run; how long each takes,
//! and what all of them cost while nobody uses them. Prints tables and writes out/bench-fleet.json.

mod database;
mod processes;

use crate::cluster::{self, Cluster};
use crate::stage::Stages;
use crate::{hosted, paths, run, upstream};
use anyhow::{Context, Result};
use processes::Cost;
use serde_json::{Value, json};
use sextant_project::Plane;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many, and where.
#[derive(clap::Args, Clone)]
#[group(id = "fleet")]
pub struct Options {
    #[command(flatten)]
    pub cluster: cluster::Options,
    /// How many control planes
    #[arg(long, default_value_t = 3)]
    pub planes: u16,
    /// How many of them get a node, which costs more than the control plane
    #[arg(long, default_value_t = 1)]
    pub nodes: u16,
    /// Seconds that they are left alone before it is measured what they cost, and again while it is measured
    #[arg(long, default_value_t = 60)]
    pub idle: u64,
    /// More of Helm's `--set`, e.g. to compare settings
    #[arg(long)]
    pub set: Vec<String>,
    /// Leave the planes where they are
    #[arg(long)]
    pub keep: bool,
}

/// Installs, measures, prints, and removes.
pub fn task(options: &Options) -> Result<()> {
    let mut stages = Stages::new(cluster::stages(&options.cluster) + 4);
    let (host, _) = cluster::start(&options.cluster, &mut stages)?;
    let helm = stages.run("build Helm", || upstream::build_helm()?.program("helm"))?;
    stages.run("load images into the nodes", || {
        Ok(host.project.load_plane_images()?)
    })?;
    let names: Vec<String> = (1..=options.planes).map(|n| format!("fleet-{n}")).collect();
    let measured = measure(options, &host, &helm, &names, &mut stages);
    if !options.keep {
        for name in &names {
            remove(&host, &helm, name)?;
        }
    }
    measured
}

fn measure(
    options: &Options,
    host: &Cluster,
    helm: &Path,
    names: &[String],
    stages: &mut Stages,
) -> Result<()> {
    let mut starts = Vec::new();
    stages.run("install the control planes", || {
        for (number, name) in names.iter().enumerate() {
            let with_node = number < usize::from(options.nodes);
            let start = start(host, helm, name, with_node, &options.set)?;
            eprintln!("      {name}: {start}");
            starts.push(start);
        }
        Ok(())
    })?;
    let idle = Duration::from_secs(options.idle);
    let planes = names.iter().map(|name| hosted::plane(host, name));
    let planes: Vec<Plane> = planes.collect::<Result<_>>()?;
    let (costs, load) = stages.run("leave them alone, and measure", || {
        std::thread::sleep(idle);
        let before = (cost(host, names)?, database::states(&planes)?);
        std::thread::sleep(idle);
        let after = (cost(host, names)?, database::states(&planes)?);
        Ok((
            parts(&before.0, &after.0, idle, names.len()),
            database::load(&before.1, &after.1),
        ))
    })?;
    report(options, &starts, &costs, &load)
}

/// Installs one plane; seconds until its API answers and, with a node, until that is Ready.
fn start(
    host: &Cluster,
    helm: &Path,
    name: &str,
    with_node: bool,
    set: &[String],
) -> Result<Value> {
    let started = Instant::now();
    let plane = hosted::plane(host, name)?;
    hosted::install(&plane, helm, set)?;
    hosted::wait_for_api(host, &plane)?;
    let api = started.elapsed().as_secs_f64();
    let mut figures = json!({"api_answers": api});
    if with_node {
        let started = Instant::now();
        hosted::join(host, &plane, &format!("{name}-1"))?;
        figures["node_ready_after_token"] = json!(started.elapsed().as_secs_f64());
    }
    Ok(figures)
}

fn remove(host: &Cluster, helm: &Path, name: &str) -> Result<()> {
    let plane = Plane {
        host: host.project.clone(),
        name: name.to_owned(),
        api_port: 0,
        join_port: 0,
    };
    plane.remove_nodes(true)?;
    run::output(plane.helm(helm).args([
        "uninstall",
        name,
        "--ignore-not-found",
        "--no-hooks",
        "--wait",
    ]))?;
    run::output(
        host.project
            .kubectl()
            .args(["delete", "namespace", name, "--ignore-not-found"]),
    )?;
    paths::remove(&plane.state())?;
    for file in [plane.kubeconfig(), plane.values_file()] {
        let _ = std::fs::remove_file(file);
    }
    Ok(())
}

/// Costs by part, of all planes together.
type Costs = BTreeMap<String, Cost>;

fn cost(host: &Cluster, names: &[String]) -> Result<Costs> {
    let mut costs = Costs::new();
    let processes = processes::by_container()?;
    for name in names {
        let pods = host.json(&["get", "pods", "--namespace", name])?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let part = &pod["metadata"]["labels"]["app.kubernetes.io/component"];
            let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
            let id = id.and_then(|id| id.strip_prefix("containerd://"));
            let (Some(part), Some(id)) = (part.as_str(), id) else {
                continue;
            };
            for process in processes.get(id).into_iter().flatten() {
                costs
                    .entry(part.to_owned())
                    .or_default()
                    .add(&process.cost()?);
            }
        }
    }
    Ok(costs)
}

/// Per plane: memory at the end, processor time over the interval.
fn parts(before: &Costs, after: &Costs, interval: Duration, planes: usize) -> Value {
    let planes = planes.max(1) as f64;
    let mebibytes = |bytes: u64| bytes as f64 / 1_048_576.0 / planes;
    let part = |(name, end): (&String, &Cost)| {
        let begin = before.get(name).copied().unwrap_or_default();
        let busy = end.processor.saturating_sub(begin.processor).as_secs_f64();
        let figures = json!({
            "pss_mebibytes": mebibytes(end.proportional),
            "anonymous_mebibytes": mebibytes(end.anonymous),
            "processor_millicores": busy / interval.as_secs_f64() * 1000.0 / planes,
        });
        (name.clone(), figures)
    };
    Value::Object(after.iter().map(part).collect())
}

fn report(options: &Options, starts: &[Value], costs: &Value, load: &Value) -> Result<()> {
    println!("\n{} control planes; seconds (p50, p99)", starts.len());
    for name in ["api_answers", "node_ready_after_token"] {
        let values: Vec<f64> = starts
            .iter()
            .filter_map(|start| start[name].as_f64())
            .collect();
        if let (Some(middle), Some(high)) = (percentile(&values, 0.5), percentile(&values, 0.99)) {
            println!("  {name:<26} {middle:>7.1} {high:>7.1}");
        }
    }
    println!("per control plane, idle          PSS MiB   anonymous MiB   millicores");
    let mut sums = [0.0; 3];
    for (part, figures) in costs.as_object().into_iter().flatten() {
        let names = [
            "pss_mebibytes",
            "anonymous_mebibytes",
            "processor_millicores",
        ];
        let values = names.map(|name| figure(figures, name));
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
        println!(
            "  {part:<26} {:>11.1} {:>15.1} {:>12.1}",
            values[0], values[1], values[2]
        );
    }
    println!(
        "  {:<26} {:>11.1} {:>15.1} {:>12.1}",
        "all", sums[0], sums[1], sums[2]
    );
    println!(
        "database of each, idle: {:.1} requests/s, {:.2} commits/s, {:.2} revisions/s; {:.1} MiB in use",
        figure(load, "requests_per_second"),
        figure(load, "commits_per_second"),
        figure(load, "revisions_per_second"),
        figure(load, "used_mebibytes"),
    );
    let file = paths::out().join("bench-fleet.json");
    let all = json!({
        "planes": options.planes,
        "set": options.set,
        "starts": starts,
        "per_plane": costs,
        "database_per_plane": load,
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&all)?)
        .with_context(|| format!("writing {}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

fn figure(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or(0.0)
}

/// The value that this share of them doesn't exceed (nearest rank).
fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let values = [3.0, 1.0, 2.0, 4.0];
        assert_eq!(percentile(&values, 0.5), Some(2.0));
        assert_eq!(percentile(&values, 0.99), Some(4.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn costs_are_per_plane() {
        let cost = |seconds, anonymous| Cost {
            proportional: anonymous,
            anonymous,
            processor: Duration::from_secs(seconds),
        };
        let before = Costs::from([("kube-apiserver".to_owned(), cost(10, 0))]);
        let after = Costs::from([("kube-apiserver".to_owned(), cost(16, 4 << 20))]);
        let parts = parts(&before, &after, Duration::from_secs(60), 2);
        assert_eq!(parts["kube-apiserver"]["processor_millicores"], 50.0);
        assert_eq!(parts["kube-apiserver"]["anonymous_mebibytes"], 2.0);
    }
}
