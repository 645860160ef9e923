//! What more replicas of each part buy: a cluster of the compose file on an etcd, one part scaled at a time, under a load
//! that stresses it. Each of its replicas may use a small share of a core, so that the part is what limits, and not the
//! machine that its replicas share. Prints a table and writes JSON; `cargo xtask bench-scale` builds what it needs and
//! calls it.

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};
use sextant_integration::Scaled;
use sextant_integration::load::{Load, Question, Shape};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const NODES: [&str; 2] = ["node-1", "node-2"];
/// Who asks the other parts.
const CLIENT: &str = "kube-apiserver";
/// Clients that ask as quickly as they are answered.
const CLIENTS: usize = 16;

/// Measures replicas of each part.
#[derive(Parser)]
struct Arguments {
    /// The program etcd
    #[arg(long)]
    etcd: PathBuf,
    /// Where the figures go
    #[arg(long)]
    out: PathBuf,
    /// How long each is measured
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Parts, all that take load when left out
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many replicas, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    replicas: Vec<usize>,
    /// Cores that each replica may use, instead of the share that is set for its part
    #[arg(long)]
    cores: Option<f64>,
}

/// A part and what stresses it.
struct Stress {
    part: &'static str,
    what: &'static str,
    /// Cores that each replica may use: so few that three of them, what they need and the clients fit on two cores.
    cores: f64,
    start: fn(&Path) -> Result<Load>,
}

const STRESSES: [Stress; 4] = [
    Stress {
        part: "kube-apiserver",
        what: "ConfigMaps written, read, listed and watched",
        cores: 0.25,
        start: mixed,
    },
    Stress {
        part: "datastore-proxy",
        what: "objects of twelve kinds read, each kind over its own connection",
        cores: 0.03,
        start: objects,
    },
    Stress {
        part: "token-service",
        what: "ServiceAccount tokens signed",
        cores: 0.02,
        start: tokens,
    },
    Stress {
        part: "supervisor",
        what: "logs of a pod on each of two nodes read through the tunnel",
        cores: 0.05,
        start: logs,
    },
];

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let scaled = Scaled::new("sextant-bench-scale", (26445, 29445), &arguments.etcd)?;
    let rows = scaled
        .start()
        .and_then(|()| pods(&scaled))
        .and_then(|()| rows(arguments, &scaled));
    scaled.remove()?;
    report(arguments, &rows?)
}

fn rows(arguments: &Arguments, scaled: &Scaled) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for stress in &STRESSES {
        let named = |part: &String| part == stress.part;
        if !arguments.only.is_empty() && !arguments.only.iter().any(named) {
            continue;
        }
        let cores = arguments.cores.unwrap_or(stress.cores);
        for &replicas in &arguments.replicas {
            scaled.scale(&[stress.part], replicas)?;
            scaled.limit(stress.part, cores)?;
            if stress.part != CLIENT {
                // It has its connections to the replicas that there were; they change within minutes by themselves.
                scaled.restart(CLIENT)?;
            }
            let load = (stress.start)(&scaled.kubeconfig()?)?;
            // The time is what is measured.
            std::thread::sleep(Duration::from_secs(arguments.seconds));
            let report = load.finish()?;
            eprintln!("{} × {replicas} of {cores} cores: {report}", stress.part);
            rows.push(json!({
                "part": stress.part,
                "load": stress.what,
                "cores_each": cores,
                "replicas": replicas,
                "figures": report.json(),
            }));
        }
        scaled.scale(&[stress.part], 1)?;
        scaled.limit(stress.part, cores_here())?;
    }
    Ok(rows)
}

fn report(arguments: &Arguments, rows: &[Value]) -> Result<()> {
    println!("| part | load | cores each | replicas | requests/s | p50, ms | p99, ms | failed |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let figure = |name: &str| row["figures"][name].as_f64().unwrap_or(0.0);
        println!(
            "| {} | {} | {} | {} | {:.0} | {:.1} | {:.1} | {} |",
            row["part"].as_str().unwrap_or_default(),
            row["load"].as_str().unwrap_or_default(),
            row["cores_each"],
            row["replicas"],
            figure("requests_per_second"),
            figure("p50_milliseconds"),
            figure("p99_milliseconds"),
            figure("failed"),
        );
    }
    let all = json!({
        "cores": cores_here(),
        "clients": CLIENTS,
        "seconds": arguments.seconds,
        "rows": rows,
    });
    std::fs::write(&arguments.out, serde_json::to_vec_pretty(&all)?)
        .with_context(|| format!("writing {}", arguments.out.display()))?;
    println!(
        "{} cores; written: {}",
        cores_here(),
        arguments.out.display()
    );
    Ok(())
}

fn cores_here() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

fn mixed(kubeconfig: &Path) -> Result<Load> {
    let shape = Shape {
        writers: CLIENTS as u32,
        rate: None,
        ..Shape::default()
    };
    Load::start(kubeconfig, &shape)
}

/// One of each: what is asked for by name is read from the datastore, and of each resource over one connection.
const OBJECTS: [&str; 12] = [
    "/api/v1/namespaces/default",
    "/api/v1/namespaces/default/services/kubernetes",
    "/api/v1/namespaces/default/serviceaccounts/default",
    "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
    "/api/v1/nodes/node-1",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
    "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin",
    "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt",
    "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/exempt",
];

fn objects(kubeconfig: &Path) -> Result<Load> {
    let get = |path: &str| Question {
        verb: "get",
        path: path.to_owned(),
        body: None,
    };
    Load::asking(kubeconfig, CLIENTS, &OBJECTS.map(get))
}

fn tokens(kubeconfig: &Path) -> Result<Load> {
    let question = Question {
        verb: "token",
        path: "/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(),
        body: Some(json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        })),
    };
    Load::asking(kubeconfig, CLIENTS, &[question])
}

fn logs(kubeconfig: &Path) -> Result<Load> {
    let log = |pod: &str| Question {
        verb: "log",
        path: format!("/api/v1/namespaces/default/pods/{pod}/log?tailLines=1"),
        body: None,
    };
    Load::asking(kubeconfig, CLIENTS, &NODES.map(log))
}

/// A pod of the node's name on each.
fn pods(scaled: &Scaled) -> Result<()> {
    NODES
        .iter()
        .try_for_each(|node| scaled.start_pod(node, Some(node)))
}
