//! Faults of a cluster with its nodes, all at one time, since none touches another's parts: each makes its alert fire,
//! what the runbook says to look at is looked at, and the alert ends with the fault.

mod faults;

use crate::Subject;
use anyhow::{Context, Result, anyhow, ensure};
use faults::FAULTS;
use sextant_integration::alerts::{Place, are_all_of, runbooks};
use sextant_integration::{Api, Cluster, Hasty, Prometheus, Target, eventually};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The cluster's own Prometheus waits two minutes, as its rules say, and looks at them once a minute.
const DEADLINE: Duration = Duration::from_secs(300);

const PORT: u16 = 17091;

/// Something that happens to the cluster.
struct Fault {
    /// What it makes fire, one after the other.
    alerts: &'static [Told],
    /// Does it.
    begin: fn(&Scene<'_>) -> Result<()>,
    /// Undoes it.
    end: fn(&Scene<'_>) -> Result<()>,
    /// What the runbooks' reader has to fill in for `PART` and `NODE`.
    about: &'static str,
    /// The cluster's own Prometheus tells of it, in its own time.
    unhurried: bool,
}

/// An alert that a fault makes fire.
struct Told {
    alert: &'static str,
    labels: &'static [(&'static str, &'static str)],
    /// What is done again and again until it fires.
    act: fn(&Scene<'_>) -> Result<()>,
}

/// What faults happen to.
struct Scene<'a> {
    subject: &'a Subject,
    hasty: Hasty,
    owner: faults::Owner,
}

pub fn each_fault_is_told_until_it_ends(subject: &Subject) -> Result<()> {
    let tried = FAULTS.iter().flat_map(|fault| fault.alerts);
    let tried: Vec<_> = tried.map(|told| told.alert).collect();
    are_all_of(Place::Cluster, &tried)?;
    let Some(program) = Hasty::program() else {
        return Ok(());
    };
    let scene = Scene {
        subject,
        hasty: Hasty::start(&program, PORT, &targets(&subject.cluster)?)?,
        owner: faults::Owner::default(),
    };
    scene.programs()?;
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let playing: Vec<_> = FAULTS
            .iter()
            .map(|fault| scope.spawn(|| scene.play(fault)))
            .collect();
        playing
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("panicked"))))
            .collect()
    });
    let failed: Vec<_> = outcomes
        .into_iter()
        .filter_map(|outcome| Some(format!("{:#}", outcome.err()?)))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// The cluster's own Prometheus has all rules, and none is wrong.
pub fn all_rules_are_evaluated(subject: &Subject) -> Result<()> {
    eventually("the rules", DEADLINE, || {
        let rules = subject.prometheus.rules()?;
        let wrong: Vec<_> = rules.iter().filter(|(_, wrong)| wrong.is_some()).collect();
        ensure!(wrong.is_empty(), "{wrong:?}");
        let faults = sextant_integration::alerts::FAULTS;
        let missing = faults.iter().find(|f| !rules.contains_key(f.alert));
        ensure!(missing.is_none(), "{missing:?}");
        Ok(())
    })
}

/// What the faults' alerts ask for. Addresses stay while no container ends.
fn targets(cluster: &Cluster) -> Result<Vec<Target>> {
    let address = |service: &str, network: &str| {
        let container = cluster.inspect(&cluster.containers(service)?[0])?;
        let name = format!("{}_{network}", cluster.project());
        let address = &container["NetworkSettings"]["Networks"][name]["IPAddress"];
        let address = address.as_str().context("it has no address")?;
        anyhow::Ok(format!("{address}:9090"))
    };
    let mut targets = vec![
        Target::admin("kube-scheduler", address("kube-scheduler", "control")?),
        Target::admin("supervisor", address("supervisor", "control")?),
        // It says so much that a second is too short for a busy machine.
        Target {
            path: "/metrics/kube-apiserver".to_owned(),
            seconds: 2,
            ..Target::admin("upstream", address("kube-apiserver", "control")?)
        },
    ];
    for node in ["node-1", "node-2"] {
        let address = address(node, "nodes")?;
        let of_node = |job, path: &str| Target {
            path: path.to_owned(),
            node: Some(node),
            ..Target::admin(job, &address)
        };
        targets.push(of_node("node-agent", "/metrics"));
        targets.push(of_node("netpol-controller", "/metrics/netpol-controller"));
    }
    Ok(targets)
}

impl Scene<'_> {
    fn play(&self, fault: &Fault) -> Result<()> {
        let prometheus = match fault.unhurried {
            true => &self.subject.prometheus,
            false => &self.hasty.prometheus,
        };
        for told in fault.alerts {
            is(prometheus, told, false, || Ok(()))?;
        }
        (fault.begin)(self)?;
        for told in fault.alerts {
            is(prometheus, told, true, || (told.act)(self))?;
            self.look(told.alert, fault.about, prometheus)?;
        }
        (fault.end)(self)?;
        for told in fault.alerts {
            is(prometheus, told, false, || Ok(()))?;
        }
        Ok(())
    }

    /// Does what the page of an alert says to look at.
    fn look(&self, alert: &str, about: &str, prometheus: &Prometheus) -> Result<()> {
        let pod = match alert {
            "PolicyNotInForce" => self.netpol_controller(about)?,
            _ => String::new(),
        };
        let project = format!("-p {} ", self.subject.cluster.project());
        let said = [
            ("PART", about),
            ("NODE", about),
            ("POD", &*pod),
            ("-p sextant ", &*project),
            ("http://127.0.0.1:9090", &*prometheus.url()),
        ];
        runbooks::try_out(alert, &self.bin(), &said)
    }

    /// Its pod on a node.
    fn netpol_controller(&self, node: &str) -> Result<String> {
        let pods = self.subject.cluster.get(&[
            "pods",
            "--namespace=kube-system",
            "--selector=app.kubernetes.io/name=netpol-controller",
            &format!("--field-selector=spec.nodeName={node}"),
        ])?;
        let name = pods["items"][0]["metadata"]["name"].as_str();
        Ok(name.context("no netpol-controller")?.to_owned())
    }

    fn bin(&self) -> PathBuf {
        self.hasty.folder().join("bin")
    }

    /// `kubectl` and `sextant` of this cluster.
    fn programs(&self) -> Result<()> {
        let cluster = &self.subject.cluster;
        let own = |command: &Command| {
            let text = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy());
            let environment = command.get_envs().filter_map(|(name, value)| {
                Some(format!("{}={} ", name.to_string_lossy(), text(value?)))
            });
            let arguments: Vec<_> = command.get_args().map(text).collect();
            format!(
                "{}exec {} {} \"$@\"",
                environment
                    .map(|setting| format!("export {setting}; "))
                    .collect::<String>(),
                text(command.get_program()),
                arguments.join(" ")
            )
        };
        runbooks::program(&self.bin(), "kubectl", &own(&cluster.kubectl_command()))?;
        runbooks::program(&self.bin(), "sextant", &own(&cluster.project.sextant()))
    }
}

fn is(
    prometheus: &Prometheus,
    told: &Told,
    wanted: bool,
    mut act: impl FnMut() -> Result<()>,
) -> Result<()> {
    let Told { alert, labels, .. } = told;
    let what = format!("{alert} {labels:?} fires: {wanted}");
    eventually(&what, DEADLINE, || {
        act()?;
        prometheus.fires(alert, labels, wanted)
    })
}
