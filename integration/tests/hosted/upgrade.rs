//! `helm upgrade` and `helm rollback`: what is refused, and what nobody notices.

use crate::tenants::fetch;
use crate::world::{SOON, World, text};
use anyhow::{Result, ensure};
use sextant_integration::load::{Load, Shape};
use sextant_integration::{Api, PARTS, Tenant, eventually};

const SCALED: [&str; 5] = [
    "kubeApiserver.replicas=2",
    "supervisor.replicas=2",
    "tokenService.replicas=3",
    "certAuthority.replicas=2",
    "kubeScheduler.replicas=2",
];

pub fn wrong_values(world: &World) -> Result<()> {
    for (set, sentence) in [
        ("kubeApiserver.replicas=many", "replicas"),
        ("kubeApiservers.replicas=2", "kubeApiservers"),
        ("datastoreProxy.replicas=2", "one volume"),
    ] {
        let refused = world.a.install(&[set])?;
        ensure!(
            refused.code != 0 && refused.stderr.contains(sentence),
            "--set {set}: {refused:?}"
        );
    }
    Ok(())
}

/// The hook refuses, says why where Helm shows it, and nothing has moved.
pub fn refused(world: &World) -> Result<()> {
    let a = &world.a;
    let before = uids(world, a)?;
    let refused = a.install(&[
        "cluster.serviceCidr=10.97.0.0/16",
        "cluster.dnsAddress=10.97.0.10",
    ])?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.code != 0, "the upgrade went through: {said}");
    ensure!(
        said.contains("serviceCidr can't change from 10.96.0.0/16 to 10.97.0.0/16"),
        "{said}"
    );
    ensure!(uids(world, a)? == before, "pods were replaced");
    a.kubectl(&["get", "--raw", "/readyz"]).map(drop)
}

pub fn scale_up(world: &World) -> Result<()> {
    let a = &world.a;
    a.install(&SCALED)?.ok()?;
    for (part, replicas) in [
        ("kube-apiserver", 2),
        ("supervisor", 2),
        ("token-service", 3),
        ("cert-authority", 2),
        ("kube-scheduler", 2),
    ] {
        eventually(&format!("{replicas} of {part}"), SOON, || {
            let pods = world.pods(a, part)?.len();
            ensure!(pods == replicas, "{pods}");
            Ok(())
        })?;
    }
    world.wait_whole(a)?;
    // The node has a session with one supervisor, and exec comes in at either kube-apiserver.
    for _ in 0..8 {
        eventually("exec works", SOON, || fetch(a))?;
    }
    Ok(())
}

/// Every pod of kube-apiserver and supervisor replaced, there and back, while somebody reads and writes.
pub fn rolled(world: &World) -> Result<()> {
    let a = &world.a;
    let mut set = SCALED.to_vec();
    set.extend([
        "kubeApiserver.podAnnotations.rolled=once",
        "supervisor.podAnnotations.rolled=once",
    ]);
    let steps: [(&str, &dyn Fn() -> Result<()>); 2] = [
        ("upgrade", &|| a.install(&set)?.ok().map(drop)),
        ("rollback", &|| {
            a.helm(&["rollback", a.name()])?.ok().map(drop)
        }),
    ];
    for (name, step) in steps {
        let before = uids(world, a)?;
        under_load(a, name, || {
            step()?;
            for part in ["kube-apiserver", "supervisor"] {
                rolled_out(world, part)?;
            }
            Ok(())
        })?;
        ensure!(uids(world, a)? != before, "{name}: no pod was replaced");
    }
    Ok(())
}

/// Each part that has replicas with SQLite: two more, and none of them, under load.
pub fn up_and_down(world: &World) -> Result<()> {
    for (part, value) in [
        ("token-service", "tokenService"),
        ("cert-authority", "certAuthority"),
        ("kube-scheduler", "kubeScheduler"),
        ("kube-controller-manager", "kubeControllerManager"),
        ("supervisor", "supervisor"),
        ("kube-apiserver", "kubeApiserver"),
    ] {
        under_load(&world.a, part, || {
            for replicas in [3, 1] {
                let set = format!("{value}.replicas={replicas}");
                world.a.install(&[&set])?.ok()?;
                rolled_out(world, part)?;
                eventually(&format!("{replicas} of {part}"), SOON, || {
                    let pods = world.pods(&world.a, part)?.len();
                    ensure!(pods == replicas, "{pods}");
                    Ok(())
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn rolled_out(world: &World, part: &str) -> Result<()> {
    let name = world.a.name();
    let kind = if part == "cert-authority" {
        "statefulset"
    } else {
        "deployment"
    };
    let workload = format!("{kind}/{name}-{part}");
    let arguments = ["rollout", "status", &workload, "-n", name, "--timeout=170s"];
    world.host.kubectl(&arguments).map(drop)
}

pub fn scale_down(world: &World) -> Result<()> {
    let a = &world.a;
    a.install(&[])?.ok()?;
    for part in PARTS {
        eventually(&format!("one of {part}"), SOON, || {
            let pods = world.pods(a, part)?.len();
            ensure!(pods == 1, "{pods}");
            Ok(())
        })?;
    }
    world.wait_whole(a)?;
    eventually("exec works", SOON, || fetch(a)).map(drop)
}

/// Nothing of it runs, its node's pods go on, and it wakes up as what it was.
pub fn asleep(world: &World) -> Result<()> {
    let a = &world.a;
    let web = || -> Result<Vec<String>> {
        let pods = a.get(&["pods", "-l", "app=web"])?;
        let pods = pods["items"].as_array().into_iter().flatten();
        pods.map(|pod| {
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            Ok(format!("{} {restarts}", text(pod, "/metadata/uid")?))
        })
        .collect()
    };
    let before = web()?;
    ensure!(before.len() == 2, "{before:?}");
    a.install(&["asleep=true"])?.ok()?;
    for part in PARTS {
        eventually(&format!("no {part} runs"), SOON, || {
            let pods = world.pods(a, part)?.len();
            ensure!(pods == 0, "{pods}");
            Ok(())
        })?;
    }
    let asked = a.kubectl_outcome(&["get", "nodes", "--request-timeout=5s"])?;
    ensure!(asked.code != 0, "somebody answers: {asked:?}");
    a.install(&[])?.ok()?;
    world.wait_whole(a)?;
    a.wait_for_node(&crate::world::node(a))?;
    eventually("exec works", SOON, || fetch(a))?;
    let after = web()?;
    ensure!(after == before, "{before:?}, then {after:?}");
    Ok(())
}

fn uids(world: &World, tenant: &Tenant) -> Result<Vec<String>> {
    let mut uids = Vec::new();
    for part in PARTS {
        for pod in world.pods(tenant, part)? {
            uids.push(text(&pod, "/metadata/uid")?.to_owned());
        }
    }
    uids.sort();
    Ok(uids)
}

/// 200 requests a second and watches until `work` is done: none fails, and no watch misses anything.
fn under_load(tenant: &Tenant, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let load = Load::start(&tenant.static_kubeconfig()?, &Shape::default())?;
    let worked = work();
    let report = load.finish()?;
    println!("{name}: {report}");
    worked?;
    ensure!(
        report.failed == 0 && report.answered() > 1000,
        "{name}: {report}"
    );
    Ok(())
}
