//! Faults of the control plane's processes: a real Prometheus reads them by the real rules, each fault makes its alert
//! fire, what the runbook says to look at is looked at, and the alert ends with the fault.

mod certificates;
mod database;
mod datastore;
mod joins;
mod neighbours;

use crate::part::Part;
use crate::plane::Plane;
use anyhow::{Result, ensure};
use futures::future::LocalBoxFuture;
use libtest_mimic::Trial;
use sextant_integration::alerts::{Place, are_all_of, runbooks};
use sextant_integration::{Hasty, Target, eventually};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::block_in_place;

/// The longest rule waits an hour, which is a minute here; a machine may be busy.
const DEADLINE: Duration = Duration::from_secs(150);

/// A fault or more on a plane of their own; `false` where this machine lacks what they need.
type Scene = fn(PathBuf) -> LocalBoxFuture<'static, Result<bool>>;

/// Each scene with the alerts that have to fire in it, and to end.
const SCENES: &[(&str, &[&str], Scene)] = &[
    (
        "alerts::an_authority_near_its_end",
        &["CertificateAuthorityExpires"],
        |program| Box::pin(certificates::an_authority_near_its_end(program)),
    ),
    (
        "alerts::no_way_to_cert_authority",
        &["CertificateExpires", "CertificateRenewalsFail"],
        |program| Box::pin(certificates::no_way_to_cert_authority(program)),
    ),
    (
        "alerts::a_slow_database_and_none",
        &["DatastoreNoLeader", "DatastoreSlow"],
        |program| Box::pin(database::slow_and_gone(program)),
    ),
    (
        "alerts::nobody_compacts_and_nobody_reads",
        &[
            "DatastoreCompactionLate",
            "DatastoreFull",
            "DatastoreWatchLag",
        ],
        |program| Box::pin(datastore::nobody_compacts_and_nobody_reads(program)),
    ),
    (
        "alerts::guessed_tokens",
        &["JoinFailures", "TokenGuessing"],
        |program| Box::pin(joins::guessed_tokens(program)),
    ),
    (
        "alerts::missing_neighbours",
        &["PartNotReady", "SupervisorNoLeader"],
        |program| Box::pin(neighbours::missing(program)),
    ),
];

/// Alerts that have fired and ended in this run.
static ENDED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// The scenes, each a case.
pub fn trials() -> impl Iterator<Item = Trial> {
    SCENES
        .iter()
        .map(|(name, alerts, scene)| Trial::test(*name, || crate::run(play(alerts, *scene))))
}

async fn play(alerts: &[&str], scene: Scene) -> Result<()> {
    let all: Vec<_> = SCENES
        .iter()
        .flat_map(|(_, alerts, _)| *alerts)
        .copied()
        .collect();
    are_all_of(Place::Plane, &all)?;
    let Some(program) = Hasty::program() else {
        return Ok(());
    };
    if scene(program).await? {
        let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        for alert in alerts {
            ensure!(ended.contains(alert), "{alert} wasn't tried");
        }
    }
    Ok(())
}

/// A plane's Prometheus, and the programs that runbooks name.
struct Watch {
    hasty: Hasty,
}

impl Watch {
    /// Reads these parts.
    fn start(program: &Path, plane: &Plane, parts: &[Part]) -> Result<Self> {
        let targets: Vec<_> = parts
            .iter()
            .map(|part| Target::admin(part.name(), plane.admin_address(*part)))
            .collect();
        let port = plane.prometheus_port();
        let hasty = block_in_place(|| Hasty::start(program, port, &targets))?;
        let watch = Self { hasty };
        watch.programs(plane)?;
        Ok(watch)
    }

    /// Waits until it fires with these labels, having seen that it didn't before `fault`.
    async fn fires_after<F>(
        &self,
        alerts: &[(&'static str, &[(&str, &str)])],
        fault: F,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        for (alert, _) in alerts {
            self.is(alert, &[], false)?;
        }
        fault.await?;
        for (alert, labels) in alerts {
            self.is(alert, labels, true)?;
        }
        Ok(())
    }

    /// Waits until none of these, which have fired, does any more.
    fn end(&self, alerts: &[&'static str]) -> Result<()> {
        for alert in alerts {
            self.is(alert, &[], false)?;
            let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
            ended.insert(alert);
        }
        Ok(())
    }

    fn is(&self, alert: &str, labels: &[(&str, &str)], wanted: bool) -> Result<()> {
        let what = format!("{alert} {labels:?} fires: {wanted}");
        block_in_place(|| {
            eventually(&what, DEADLINE, || {
                self.hasty.prometheus.fires(alert, labels, wanted)
            })
        })
    }

    /// Does what the page of an alert says to look at; `about` is the part or the node that it is about.
    fn look(&self, plane: &Plane, alert: &str, about: &str) -> Result<()> {
        for part in Part::ALL {
            self.log(part.name(), &plane.output(part))?;
        }
        let url = self.hasty.prometheus.url();
        let said = [
            ("PART", about),
            ("NODE", about),
            ("http://127.0.0.1:9090", &*url),
        ];
        block_in_place(|| runbooks::try_out(alert, &self.bin(), &said))
    }

    /// What somebody has said, for `docker compose logs`.
    fn log(&self, who: &str, said: &str) -> Result<()> {
        let logs = self.hasty.folder().join("logs");
        std::fs::create_dir_all(&logs)?;
        Ok(std::fs::write(logs.join(who), said)?)
    }

    fn bin(&self) -> PathBuf {
        self.hasty.folder().join("bin")
    }

    /// `sextant`, and as much of `docker` as is said of a compose project: the parts are processes here.
    fn programs(&self, plane: &Plane) -> Result<()> {
        let own = std::env::current_exe()?.display().to_string();
        let folder = |name: &str| plane.path(name).display().to_string();
        let sextant = format!(
            "exec -a sextant {own} --server {} --enrol-dir {} --state-dir {} \"$@\"",
            plane.address(Part::Edge),
            folder("enrol/admin"),
            folder("state"),
        );
        runbooks::program(&self.bin(), "sextant", &sextant)?;
        let docker = format!(
            "case \"$*\" in\n\
             'compose -p sextant logs --tail '*) lines=$6; shift 6; cd {} && tail -q -n \"$lines\" \"$@\";;\n\
             'compose -p sextant exec '*) exec -a \"$5\" {own} healthcheck --config {}/\"$5\".yaml;;\n\
             *) echo \"not here: docker $*\" >&2; exit 64;;\n\
             esac",
            self.hasty.folder().join("logs").display(),
            folder(""),
        );
        runbooks::program(&self.bin(), "docker", &docker)
    }
}
