//! What more replicas of each part buy: a cluster of the compose file on an etcd, one part scaled at a time, under a load
//! that stresses it. Prints a table and writes JSON; `cargo xtask bench-scale` builds what it needs and calls it.

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};
use sextant_integration::load::{Load, Question, Report, Shape};
use sextant_integration::{POD, Scaled};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const REPLICAS: [usize; 3] = [1, 2, 3];
/// Clients that ask as quickly as they are answered.
const CLIENTS: u32 = 16;

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
}

/// A part and what stresses it.
struct Stress {
    part: &'static str,
    what: &'static str,
    start: fn(&Path) -> Result<Load>,
}

const STRESSES: [Stress; 4] = [
    Stress {
        part: "kube-apiserver",
        what: "ConfigMaps written, read, listed and watched",
        start: mixed,
    },
    Stress {
        part: "datastore-proxy",
        what: "ConfigMaps written, read, listed and watched",
        start: mixed,
    },
    Stress {
        part: "token-service",
        what: "ServiceAccount tokens signed",
        start: tokens,
    },
    Stress {
        part: "supervisor",
        what: "a pod's log read through the tunnel",
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
    let rows = scaled.start().and_then(|()| rows(arguments, &scaled));
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
        for replicas in REPLICAS {
            scaled.scale(stress.part, replicas)?;
            let load = (stress.start)(&scaled.kubeconfig()?)?;
            // The time is what is measured.
            std::thread::sleep(Duration::from_secs(arguments.seconds));
            let report = load.finish()?;
            eprintln!("{} × {replicas}: {report}", stress.part);
            rows.push(row(stress, replicas, &report));
        }
        scaled.scale(stress.part, 1)?;
    }
    Ok(rows)
}

fn row(stress: &Stress, replicas: usize, report: &Report) -> Value {
    json!({
        "part": stress.part,
        "load": stress.what,
        "replicas": replicas,
        "figures": report.json(),
    })
}

fn report(arguments: &Arguments, rows: &[Value]) -> Result<()> {
    println!("| part | load | replicas | requests/s | p50, ms | p99, ms | failed |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let figure = |name: &str| row["figures"][name].as_f64().unwrap_or(0.0);
        println!(
            "| {} | {} | {} | {:.0} | {:.1} | {:.1} | {} |",
            row["part"].as_str().unwrap_or_default(),
            row["load"].as_str().unwrap_or_default(),
            row["replicas"],
            figure("requests_per_second"),
            figure("p50_milliseconds"),
            figure("p99_milliseconds"),
            figure("failed"),
        );
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let all = json!({
        "cores": cores,
        "clients": CLIENTS,
        "seconds": arguments.seconds,
        "rows": rows,
    });
    std::fs::write(&arguments.out, serde_json::to_vec_pretty(&all)?)
        .with_context(|| format!("writing {}", arguments.out.display()))?;
    println!("{cores} cores; written: {}", arguments.out.display());
    Ok(())
}

fn mixed(kubeconfig: &Path) -> Result<Load> {
    let shape = Shape {
        writers: CLIENTS,
        rate: None,
        ..Shape::default()
    };
    Load::start(kubeconfig, &shape)
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
    Load::asking(kubeconfig, CLIENTS, &question)
}

fn logs(kubeconfig: &Path) -> Result<Load> {
    let question = Question {
        verb: "log",
        path: format!("/api/v1/namespaces/default/pods/{POD}/log?tailLines=1"),
        body: None,
    };
    Load::asking(kubeconfig, CLIENTS, &question)
}
