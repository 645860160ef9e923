//! `bench-idle`: what upstream's three components cost while nobody uses them, with flags and an environment that are tried.

use crate::servers::Servers;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use sextant_integration::eventually;
use sextant_integration::load::{Load, Shape};
use sextant_kit::http::get;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use supervisor::domain::components::Component;

const SOON: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(5);
/// Between two looks at the memory, which grows until Go collects.
const LOOK: Duration = Duration::from_secs(2);
/// etcd's metrics.
const LONGEST: u64 = 4 << 20;

/// What is tried.
#[derive(Parser)]
#[command(name = "bench-idle")]
pub struct Options {
    /// Seconds that they are left alone before it is measured what they cost, and again while it is measured
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Seconds of reads and writes afterwards, as quickly as they are answered
    #[arg(long, default_value_t = 0)]
    busy: u64,
    /// A flag of kube-apiserver
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    kube_apiserver: Vec<(String, String)>,
    /// A flag of kube-controller-manager
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    kube_controller_manager: Vec<(String, String)>,
    /// A flag of kube-scheduler
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    kube_scheduler: Vec<(String, String)>,
    /// A variable of their environment
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, default_value = "GOGC=50")]
    env: Vec<(String, String)>,
    /// How long the lease of a leader stands
    #[arg(long, default_value_t = 3)]
    lease: u32,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What a process has cost at one moment.
#[derive(Clone, Copy, Default)]
struct Cost {
    anonymous: u64,
    processor: Duration,
}

/// What has been asked of the etcd at one moment.
#[derive(Clone, Copy)]
struct Asked {
    calls: f64,
    writes: f64,
}

/// Starts the three, waits, measures, prints.
pub fn run(options: &Options) -> Result<()> {
    let mut servers = Servers::start()?.context("some program is missing")?;
    servers.environment.clone_from(&options.env);
    servers.cluster.leader_lease_seconds = options.lease;
    let further = &mut servers.cluster.extra_args;
    further
        .kube_apiserver
        .extend(options.kube_apiserver.iter().cloned());
    let controllers = options.kube_controller_manager.iter().cloned();
    further.kube_controller_manager.extend(controllers);
    further
        .kube_scheduler
        .extend(options.kube_scheduler.iter().cloned());
    servers.add()?;
    let others = [Component::ControllerManager, Component::Scheduler];
    let others = others.map(|component| servers.component(component));
    let [manager, scheduler] = others;
    let (manager, scheduler) = (manager?, scheduler?);
    eventually("a default ServiceAccount", SOON, || {
        servers.kubectl(&["get", "serviceaccount", "default"])?.ok()
    })
    .with_context(|| manager.said().unwrap_or_default())?;
    let server = servers.pids().next().context("no kube-apiserver")?;
    let names = Component::ALL.map(Component::name);
    let pids = [server, manager.pid(), scheduler.pid()];

    std::thread::sleep(Duration::from_secs(options.idle));
    let idle = over(&servers, pids, Duration::from_secs(options.idle))?;
    println!("{:<26} anonymous MiB   millicores", "idle");
    let all = idle.memory.iter().zip(&idle.processor).zip(names);
    for ((memory, processor), name) in all {
        println!("  {name:<26} {memory:>11.1} {processor:>12.1}");
    }
    let (memory, processor) = (
        idle.memory.iter().sum::<f64>(),
        idle.processor.iter().sum::<f64>(),
    );
    println!("  {:<26} {memory:>11.1} {processor:>12.1}", "all");
    println!(
        "  {:.1} calls/s of the etcd, {:.2} writes/s",
        idle.calls, idle.writes
    );
    if options.busy > 0 {
        busy(&servers, server, Duration::from_secs(options.busy))?;
    }
    Ok(())
}

/// Costs over a time: mebibytes on the mean, thousandths of a core, calls a second.
struct Over {
    memory: [f64; 3],
    processor: [f64; 3],
    calls: f64,
    writes: f64,
}

fn over(servers: &Servers, pids: [u32; 3], time: Duration) -> Result<Over> {
    let started = Instant::now();
    let (before, asked) = (costs(pids)?, asked(servers)?);
    let mut memory = [0.0; 3];
    let mut looks = 0.0;
    while started.elapsed() < time {
        std::thread::sleep(LOOK);
        looks += 1.0;
        for (sum, cost) in memory.iter_mut().zip(costs(pids)?) {
            *sum += cost.anonymous as f64 / 1_048_576.0;
        }
    }
    let (after, asked_now) = (costs(pids)?, self::asked(servers)?);
    let seconds = started.elapsed().as_secs_f64();
    let spent = |index: usize| {
        let spent = after[index]
            .processor
            .saturating_sub(before[index].processor);
        spent.as_secs_f64() * 1000.0 / seconds
    };
    Ok(Over {
        memory: memory.map(|sum| sum / looks),
        processor: [spent(0), spent(1), spent(2)],
        calls: (asked_now.calls - asked.calls) / seconds,
        writes: (asked_now.writes - asked.writes) / seconds,
    })
}

fn busy(servers: &Servers, server: u32, time: Duration) -> Result<()> {
    let before = cost(server)?;
    let shape = Shape {
        rate: None,
        ..Shape::default()
    };
    let load = Load::start(&servers.kubeconfig(), &shape)?;
    let started = Instant::now();
    let mut most = 0;
    while started.elapsed() < time {
        std::thread::sleep(LOOK);
        most = most.max(cost(server)?.anonymous);
    }
    let report = load.finish()?;
    ensure!(report.failed == 0, "{report}");
    let spent = cost(server)?.processor.saturating_sub(before.processor);
    println!(
        "busy: kube-apiserver took {:.2} ms of a core for a request and {:.0} MiB at most\n{report}",
        spent.as_secs_f64() * 1000.0 / report.answered() as f64,
        most as f64 / 1_048_576.0,
    );
    Ok(())
}

fn costs(pids: [u32; 3]) -> Result<[Cost; 3]> {
    let mut all = [Cost::default(); 3];
    for (one, pid) in all.iter_mut().zip(pids) {
        *one = cost(pid)?;
    }
    Ok(all)
}

fn cost(pid: u32) -> Result<Cost> {
    let read = |name: &str| {
        let file = format!("/proc/{pid}/{name}");
        std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))
    };
    let rollup = read("smaps_rollup")?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let anonymous: u64 = kilobytes.context("no anonymous memory")?.trim().parse()?;
    // The name in parentheses may hold anything; then user and system time in hundredths of a second, as fields 14 and 15.
    let stat = read("stat")?;
    let fields = stat.rsplit_once(')').context("no name")?.1;
    let times = fields.split_whitespace().skip(11).take(2);
    let hundredths: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    Ok(Cost {
        anonymous: anonymous * 1024,
        processor: Duration::from_millis(hundredths * 10),
    })
}

fn asked(servers: &Servers) -> Result<Asked> {
    let address: SocketAddr = servers.etcd().trim_start_matches("http://").parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(get(address, "/metrics", LONGEST, QUICK))?;
    let sum = |name: &str| {
        let lines = answer.body.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    Ok(Asked {
        calls: sum("grpc_server_started_total"),
        writes: sum("etcd_mvcc_put_total") + sum("etcd_mvcc_delete_total"),
    })
}
